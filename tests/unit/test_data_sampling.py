"""Laws of choosing frames and of changing them: always within the video, evenly spaced, and undone by doing it twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.data import sampling
from everyframe.data.mirrored_labels import mirrored, pairs, sided
from everyframe.errors import RecipeError
from everyframe.recipes.training import Augment, Sampling
from everyframe.training import augment

counts, lengths, strides = st.integers(1, 200), st.integers(1, 40), st.integers(1, 6)
shorts = st.sampled_from(["loop", "hold"])
seeds = st.integers(0, 10_000)


@given(counts, lengths, strides, shorts, seeds, st.sampled_from(["clip", "segments"]), st.floats(1, 4))
def test_every_index_lies_in_the_video(
    count: int, frames: int, stride: int, short: str, seed: int, kind: str, speed: float
) -> None:
    how = Sampling.model_validate({"kind": kind, "stride": stride, "short": short})
    made = [
        sampling.training(count, frames, how, np.random.default_rng(seed), speed)[None],
        sampling.middle(count, frames, how)[None],
        sampling.covering(count, frames, how),
        sampling.spread(count, frames, how, 10),
    ]
    for rows in made:
        assert rows.shape[1:] == (frames,)
        assert rows.min() >= 0
        assert rows.max() < count


@given(counts, lengths, strides, seeds)
def test_a_clip_is_every_stride_th_frame_in_a_row(count: int, frames: int, stride: int, seed: int) -> None:
    """Of a video that is long enough; a shorter one is repeated from its beginning, or holds its last frame."""
    how = Sampling(stride=stride)
    for rows in (sampling.training(count, frames, how, np.random.default_rng(seed)), sampling.middle(count, frames, how)):
        if (frames - 1) * stride < count:
            assert (np.diff(rows) == stride).all()
        else:
            assert rows.tolist() == [i * stride % count for i in range(frames)]
    held = sampling.middle(count, frames, Sampling(stride=stride, short="hold"))
    if (frames - 1) * stride >= count:
        assert held.tolist() == [min(i * stride, count - 1) for i in range(frames)]


def test_training_clips_begin_everywhere() -> None:
    rng, how = np.random.default_rng(0), Sampling(stride=2)
    begins = {int(sampling.training(20, 8, how, rng)[0]) for _ in range(300)}
    assert begins == set(range(20 - 14))
    assert sampling.middle(20, 8, how)[0] == 2
    # 16 of 32 frames, as trained on Jester
    assert sampling.training(32, 16, how, np.random.default_rng(1)).tolist() in [list(range(b, b + 32, 2)) for b in (0, 1)]


@given(st.integers(1, 40), st.integers(1, 200), seeds)
def test_segments_take_one_frame_of_each_part(frames: int, count: int, seed: int) -> None:
    rows = sampling.training(count, frames, Sampling(kind="segments"), np.random.default_rng(seed))
    for part, index in enumerate(rows):
        low, high = part * count // frames, (part + 1) * count // frames
        assert low <= index < max(high, low + 1)
    if count >= frames:
        assert (np.diff(rows) > 0).all()


@given(counts, lengths, strides)
def test_covering_clips_do_not_overlap_and_miss_nothing(count: int, frames: int, stride: int) -> None:
    rows = sampling.covering(count, frames, Sampling(stride=stride))
    assert len(rows) == -(-count // (frames * stride))
    assert set(rows.ravel().tolist()) >= set(range(0, count, stride))
    full = rows[: count // (frames * stride)]  # what is left over is repeated like a short video
    assert full.ravel().tolist() == list(range(0, full.size * stride, stride))
    assert all(row.min() >= number * frames * stride for number, row in enumerate(rows))


@given(st.integers(1, 20), st.integers(1, 10))
def test_covering_by_segments_shows_every_frame_once_where_parts_are_equal(frames: int, times: int) -> None:
    rows = sampling.covering(frames * times, frames, Sampling(kind="segments"))
    assert sorted(rows.ravel().tolist()) == list(range(frames * times))


def test_speed_changes_the_stride_both_ways() -> None:
    gaps = {
        int(np.ptp(sampling.training(500, 16, Sampling(), np.random.default_rng(seed), 2.0))) for seed in range(200)
    }  # 15 frames on at the speed as filmed
    assert min(gaps) < 9
    assert max(gaps) > 26
    assert min(gaps) >= 7
    assert max(gaps) <= 30


# Pictures


def clip(height: int = 32, width: int = 43, channels: int = 3, frames: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, channels), np.uint8)


def whole(height: int = 32, width: int = 43) -> augment.Change:
    return augment.Change((0, 0, height, width))


class TestAugment:
    @given(
        st.integers(20, 80), st.integers(20, 80), st.integers(8, 60), st.integers(8, 60), seeds,
        st.sampled_from(["random", "corner", "center"]), st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    )  # fmt: skip
    def test_the_box_lies_in_the_picture_and_has_the_networks_shape(
        self, height: int, width: int, h: int, w: int, seed: int, crop: str, scales: list[float]
    ) -> None:
        how = Augment.model_validate({"crop": crop, "scales": scales})
        top, left, box_h, box_w = augment.draw(np.random.default_rng(seed), how, (height, width), (h, w)).box
        assert 0 <= top <= height - box_h
        assert 0 <= left <= width - box_w
        assert any(
            abs(box_h - s * h) <= 1 and abs(box_w - s * w) <= 1
            for s in (min(height / h, width / w) * scale for scale in scales)
        )  # fmt: skip

    def test_published_crops(self) -> None:
        """Short side 128: the crop is int(128 * scale), somewhere (arXiv:1904.02422)."""
        scales = (1.0, 2**-0.25, 2**-0.5, 2**-0.75)
        rng, how = np.random.default_rng(3), Augment(scales=scales)
        boxes = [augment.draw(rng, how, (128, 171), (112, 112)).box for _ in range(400)]
        assert {box[2:] for box in boxes} == {(s, s) for s in (128, 107, 90, 76)}
        assert {box[0] for box in boxes if box[2] == 76} <= set(range(53))
        assert len({box[1] for box in boxes}) > 60

    def test_nothing_drawn_changes_nothing(self) -> None:
        video = clip()
        assert np.array_equal(augment.apply(video, whole(), (32, 43)), video)

    @pytest.mark.parametrize("turn", [0.0, 11.0])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_mirrored_twice_is_as_before(self, turn: float, channels: int) -> None:
        """Mirrored and turned the other way: the mirror image."""
        video, color = clip(channels=channels), "gray" if channels == 1 else "rgb"
        box = (2, 5, 28, 28)
        flipped = augment.apply(video, augment.Change(box, flip=True, turn=turn), (24, 24), color)  # type: ignore[arg-type]
        plain = augment.apply(video, augment.Change(box, turn=turn), (24, 24), color)  # type: ignore[arg-type]
        assert np.abs(flipped[:, :, ::-1].astype(int) - plain).max() <= (1 if turn else 0)

    def test_the_two_ways_of_resampling_agree(self) -> None:
        """A turn of nearly nothing is no turn, where pictures are enlarged; shrinking widens the filter only without a turn."""
        video = clip(20, 26)
        one = augment.apply(video, augment.Change((1, 2, 18, 18)), (36, 36)).astype(int)
        other = augment.apply(video, augment.Change((1, 2, 18, 18), turn=1e-6), (36, 36)).astype(int)
        inner = np.s_[:, 2:-2, 2:-2]  # beyond the box, one sees the picture go on, the other repeats the box's border
        assert np.abs(one[inner] - other[inner]).max() <= 1

    def test_a_quarter_turn_is_exact(self) -> None:
        video = clip(24, 24)
        made = augment.apply(video, augment.Change((0, 0, 24, 24), turn=90.0), (24, 24)).astype(int)
        assert min(np.abs(made - np.rot90(video, k, (1, 2))).max() for k in (1, 3)) <= 1

    def test_frames_change_alike(self) -> None:
        still = np.repeat(clip(frames=1), 5, axis=0)
        how = Augment(scales=(0.7, 0.9), rotate=20, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
        change = augment.draw(np.random.default_rng(1), how, (32, 43), (24, 24))
        made = augment.apply(still, change, (24, 24))
        assert (made == made[:1]).all()

    def test_colors(self) -> None:
        video = clip(seed=4) // 2 + 40
        gray = np.repeat(clip(channels=1), 3, axis=3)
        change = lambda **how: augment.Change((0, 0, 32, 43), **how)  # noqa: E731
        made = augment.apply(video, change(gain=1.2), (32, 43))
        assert np.abs(made - np.clip(video * 1.2, 0, 255)).max() <= 0.51
        luma = augment.apply(video, change(saturation=0.0), (32, 43)).astype(float)
        assert np.abs(luma - (video @ augment.LUMA)[..., None]).max() < 1.5
        for how in ({"saturation": 0.3}, {"hue": 70.0}, {"saturation": 1.6, "hue": -20.0}):
            assert np.abs(augment.apply(gray, change(**how), (32, 43)).astype(int) - gray).max() <= 1
        flat = augment.apply(video, change(contrast=0.5), (32, 43))
        assert flat.std() == pytest.approx(video.std() / 2, rel=0.05)
        assert flat.mean() == pytest.approx(video.mean(), abs=3)

    def test_blue_first_is_the_same_picture(self) -> None:
        how = {"gain": 1.1, "contrast": 0.8, "saturation": 1.3, "hue": 25.0}
        video, change = clip(), augment.Change((0, 0, 32, 43), **how)
        rgb = augment.apply(video, change, (32, 43), "rgb")
        bgr = augment.apply(np.ascontiguousarray(video[..., ::-1]), change, (32, 43), "bgr")
        assert np.abs(rgb.astype(int) - bgr[..., ::-1]).max() <= 1


class TestSides:
    LABELS = ("cw_rotation", "ccw_rotation", "v_swiping_left", "v_swiping_right", "swiping_up", "TurnLeft", "bright copyright")

    def test_pairs_are_found_by_their_words(self) -> None:
        assert pairs(self.LABELS) == [("cw_rotation", "ccw_rotation"), ("v_swiping_left", "v_swiping_right")]
        assert sided(self.LABELS) == [*self.LABELS[:4], "TurnLeft"]
        assert pairs(("Turning Hand Clockwise", "Turning Hand Counterclockwise")) == [
            ("Turning Hand Clockwise", "Turning Hand Counterclockwise")
        ]
        assert pairs(("turn clockwise", "turn counter-clockwise")) == [("turn clockwise", "turn counter-clockwise")]
        long = ("Pushing something from left to right", "Pushing something from right to left")
        assert pairs(long) == [long]

    def test_a_mirror_without_a_word_about_sides_is_refused_with_the_pairs(self) -> None:
        with pytest.raises(RecipeError, match="swap = "):
            mirrored(self.LABELS, Augment(flip=True))
        assert mirrored(self.LABELS, Augment(flip=True, swap=())) == tuple(range(7))
        assert mirrored(self.LABELS, Augment(flip=True, swap=(self.LABELS[:2], self.LABELS[2:4]))) == (1, 0, 3, 2, 4, 5, 6)
        assert mirrored(("a", "b"), Augment(flip=True)) == (0, 1)

    @pytest.mark.parametrize("swap", [[("a", "c")], [("a", "b"), ("b", "a")], [("a", "b"), ("a", "d")]])
    def test_pairs_that_cannot_be(self, swap: list[tuple[str, str]]) -> None:
        with pytest.raises(RecipeError, match=r"augment\.swap"):
            mirrored(("a", "b", "d"), Augment(flip=True, swap=tuple(swap)))
