"""Clips from disk to batches: the bytes that prediction sees, the same for any number of processes, and no hang."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import handmade
from deadly import Deadly, DeadlyBesideSlow, Refusing
from everyframe.data import cache, decode
from everyframe.data.cache import Store
from everyframe.data.clips import Clip, Collection, folder_clip
from everyframe.data.views import videos as whole_videos
from everyframe.data.views import views
from everyframe.data.workers import Pool
from everyframe.errors import EveryframeError, OutputError, RecipeError, SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import Augment, ClipRecipe, Sampling
from everyframe.training import loader
from everyframe.training.loader import Batch, Clips, Loader, Middles, normalize
from everyframe.video import Reader, resolve
from everyframe.video import normalize as as_predicted

GRAY: dict[str, Any] = {"color": "gray"}
SIZE = (24, 24)


def moving(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 200, (36, 48, 3), np.uint8)

    def draw(index: int) -> np.ndarray:
        frame = ground.copy()
        frame[8:20, (2 * index) % 36 : (2 * index) % 36 + 12] = 255
        return frame

    return draw


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("videos")
    made = [handmade.write_video(folder / f"v{i}.mp4", 10 + 3 * i, draw=moving(i)) for i in range(7)]
    return [Clip(path, i % 3, path.name) for i, path in enumerate(made)]


def job(clips: Sequence[Clip], folder: Path | None = None, **change: Any) -> Clips:
    store = Store(loader.training_geometry(Preprocess(resize=24, crop=SIZE), SIZE, None), folder)
    how = {"scales": (1.0, 0.8), "flip": True, "brightness": 0.2, "saturation": 0.3, "rotate": 5.0} | change
    return Clips(clips, store, 6, SIZE, Sampling(), Augment.model_validate(how), (1, 0, 2), seed=5)


def told(batches: Any) -> list[tuple]:
    return [(b.frames.numpy().tobytes(), b.labels.tolist(), b.clips, b.step, b.share, b.last) for b in batches]


class TestDecode:
    @pytest.mark.parametrize(
        ("number", "how"),
        list(enumerate([
            Preprocess(), Preprocess(resize=24, crop=(24, 24)), Preprocess(resize=(20, 30)), Preprocess(**GRAY, resize=18),
            Preprocess(color="bgr", resize=40), Preprocess(resize=24, fps=12), Preprocess(fps=60), Preprocess(sample_every_n=3),
            Preprocess(**GRAY, resize=(12, 16), fps=7.5),
        ])),
    )  # fmt: skip
    def test_the_same_bytes_as_in_prediction(self, tmp_path: Path, videos: list[Clip], number: int, how: Preprocess) -> None:
        ntsc = handmade.write_video(tmp_path / "ntsc.mkv", 17, rate=Fraction(30_000, 1001), draw=moving(9))
        uneven = [Fraction(i * i, 400) for i in range(12)]
        odd = handmade.write_video(tmp_path / "odd.mkv", 12, codec="ffv1", times=uneven, draw=moving(8))
        for i in range(3):
            (tmp_path / "p").mkdir(exist_ok=True)
            Image.fromarray(moving(i)(i)).save(tmp_path / f"p/{i:03d}.png")
        upright = turned(handmade.write_video(tmp_path / "upright.mp4", 5, draw=moving(1)))
        made = [videos[1], *(Clip(path, 0, path.name) for path in (ntsc, odd, upright)), folder_clip(tmp_path / "p", 0, "p")]
        for clip in (made[number % 5], made[(number + 2) % 5]):
            with Reader(resolve(clip.path)[0], how) as reader:
                expected = np.stack([frame.data for frame in reader])
            assert np.array_equal(decode.pictures(clip, how), expected), clip.name

    @pytest.mark.parametrize("limit", [0, 20_000, 1 << 20])
    @pytest.mark.parametrize("how", [Preprocess(resize=20), Preprocess(fps=60), Preprocess(sample_every_n=2)])
    def test_chosen_frames_are_those_of_the_whole(
        self, videos: list[Clip], how: Preprocess, limit: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether they wait for the choice or are prepared because they grow too many."""
        monkeypatch.setattr(decode, "HELD", limit)
        whole = decode.pictures(videos[6], how)
        rows = np.array([7, 0, 3, 3, len(whole) - 1])

        def choose(count: int) -> np.ndarray:
            assert count == len(whole)
            return rows

        assert np.array_equal(decode.pictures(videos[6], how, choose), whole[rows])

    def test_a_part_of_a_video_is_like_a_file_of_its_own(self, videos: list[Clip]) -> None:
        whole = decode.pictures(videos[6], Preprocess())
        part = decode.pictures(Clip(videos[6].path, 0, "part", span=(0.2, 0.5)), Preprocess(sample_every_n=2))
        assert np.array_equal(part, whole[6:15:2])

    def test_what_cannot_be_read_is_named(self, tmp_path: Path, videos: list[Clip]) -> None:
        (tmp_path / "text.mp4").write_text("no video")
        (tmp_path / "half.mp4").write_bytes(videos[5].path.read_bytes()[:-300])
        for path in (tmp_path / "text.mp4", tmp_path / "half.mp4", tmp_path / "none.mp4"):
            with pytest.raises(SourceError, match=path.name):
                decode.pictures(Clip(path, 0, path.name), Preprocess())
        with pytest.raises(SourceError, match=r"v0\.mp4"):
            decode.pictures(videos[0], Preprocess(crop=(999, 999)))
        with pytest.raises(SourceError, match="no frames in this part"):
            decode.pictures(Clip(videos[0].path, 0, "late", span=(50, 60)), Preprocess())


def turned(path: Path) -> Path:
    """Turned by 90 degrees in the track header, as phones do."""
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44
    matrix = (0, 0x10000, 0, -0x10000, 0, 0, 36 << 16, 0, 0x40000000)
    path.write_bytes(data[:start] + struct.pack(">9i", *matrix) + data[start + 36 :])
    return path


class TestCache:
    def test_an_entry_is_what_decoding_gives(self, tmp_path: Path, videos: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
        store = Store(Preprocess(resize=20), tmp_path)
        first = store.frames(videos[0])
        assert np.array_equal(first, decode.pictures(videos[0], store.preprocess))
        monkeypatch.setattr(cache, "pictures", lambda *_: pytest.fail("decoded again"))
        assert np.array_equal(Store(Preprocess(resize=20), tmp_path).frames(videos[0]), first)

    @pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:200], lambda b: b"", lambda b: b[:300] + b"!!" + b[302:]])
    def test_damaged_entries_are_made_again(self, tmp_path: Path, videos: list[Clip], damage: Any) -> None:
        first = np.array(Store(Preprocess(resize=20), tmp_path).frames(videos[0]))
        (entry,) = tmp_path.rglob("*.npy")
        whole = entry.read_bytes()
        entry.write_bytes(damage(whole))
        assert np.array_equal(Store(Preprocess(resize=20), tmp_path).frames(videos[0]), first)
        assert entry.read_bytes() == whole
        assert not list(tmp_path.rglob("*.part"))

    def test_whatever_changes_the_bytes_changes_the_entry(self, tmp_path: Path, videos: list[Clip]) -> None:
        path = tmp_path / "v.mp4"
        path.write_bytes(videos[0].path.read_bytes())
        clip = Clip(path, 0, "v")
        how = [Preprocess(), Preprocess(resize=9), Preprocess(**GRAY), Preprocess(fps=5), Preprocess(sample_every_n=2)]
        entries = {Store(one, tmp_path).entry(clip) for one in how}
        entries |= {Store(how[0], tmp_path).entry(Clip(path, 0, "v", span=(0, 0.1)))}
        os.utime(path, ns=(1, 1))
        entries |= {Store(how[0], tmp_path).entry(clip)}
        assert len(entries) == len(how) + 2
        same = Store(Preprocess(mean=(0.5,) * 3), tmp_path).entry(Clip(path, 2, "other label"))
        assert same in entries

    def test_a_full_disk_is_said(self, tmp_path: Path, videos: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="disk is full"):
            Store(Preprocess(), tmp_path).frames(videos[0])
        assert not list(tmp_path.rglob("*.*"))

    def test_filling_in_parallel_names_what_is_broken(self, tmp_path: Path, videos: list[Clip]) -> None:
        (tmp_path / "bad.mp4").write_text("no video")
        clips = [videos[0], Clip(tmp_path / "bad.mp4", 0, "bad"), *videos[1:]]
        seen: list[int] = []
        broken = Store(Preprocess(resize=20), tmp_path / "c").fill(clips, 2, seen.append)
        assert list(broken) == [1]
        assert "bad.mp4" in str(broken[1])
        assert seen == list(range(1, len(clips) + 1))
        assert len(list((tmp_path / "c").rglob("*.npy"))) == len(videos)

    def test_small_data_are_kept_and_a_word_in_the_recipe_decides(
        self, videos: list[Clip], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cache.choose(None, videos, Preprocess()) is not None
        monkeypatch.setattr(cache, "LIMIT", 1000)
        assert cache.choose(None, videos, Preprocess()) is None
        assert cache.choose(True, videos, Preprocess()) is not None
        assert cache.choose(False, videos, Preprocess()) is None


class TestBatches:
    def test_the_same_bytes_with_any_number_of_workers_and_with_the_cache(self, tmp_path: Path, videos: list[Clip]) -> None:
        made = []
        for workers, folder in ((0, None), (1, tmp_path), (2, tmp_path), (2, None)):
            with Loader(job(videos, folder), 3, workers=workers) as batches:
                made.append([told(batches.batches(epoch)) for epoch in (0, 1)])
        assert made[0] == made[1] == made[2] == made[3]
        assert made[0][0] != made[0][1]

    def test_an_epoch_is_each_clip_once_and_the_next_one_is_in_another_order(self, videos: list[Clip]) -> None:
        batches = Loader(job(videos), 1)
        orders = [[b.clips[0] for b in batches.batches(epoch)] for epoch in range(4)]
        assert all(sorted(order) == list(range(7)) for order in orders)
        assert len({tuple(order) for order in orders}) > 1

    @pytest.mark.parametrize("first", [0, 1, 2])
    def test_going_on_from_a_batch(self, videos: list[Clip], first: int) -> None:
        batches = Loader(job(videos), 3)
        assert told(batches.batches(2, first)) == told(batches.batches(2))[first:]

    @pytest.mark.parametrize(("ranks", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3), (3, 2)])
    def test_ranks_and_parts_together_see_what_one_process_sees(self, videos: list[Clip], ranks: int, accumulate: int) -> None:
        (whole,) = Loader(job(videos), 6).batches(3)
        shared: list[Batch] = []
        for rank in range(ranks):
            own = list(Loader(job(videos), 6, accumulate=accumulate).batches(3, rank=rank, ranks=ranks))
            assert [b.last for b in own] == [False] * (accumulate - 1) + [True]
            shared += own
        assert sum(b.share for b in shared) == pytest.approx(1)
        clips = [clip for b in shared for clip in b.clips]
        assert sorted(clips) == sorted(whole.clips)
        by_clip = {clip: frame.numpy().tobytes() for b in shared for clip, frame in zip(b.clips, b.frames, strict=True)}
        assert [by_clip[clip] for clip in whole.clips] == [frame.numpy().tobytes() for frame in whole.frames]

    def test_incomplete_batches(self, videos: list[Clip]) -> None:
        """Left out of training if there is another one; kept in evaluation."""
        assert [len(b.labels) for b in Loader(job(videos), 3).batches()] == [3, 3]
        assert [len(b.labels) for b in Loader(job(videos), 99).batches()] == [7]
        store = Store(Preprocess(resize=24))
        middles = Loader(Middles(videos, store, 6, SIZE, Sampling()), 3)
        assert [b.clips for b in middles.batches()] == [(0, 1, 2), (3, 4, 5), (6,)]
        for ranks in (2, 3):
            seen = [clip for rank in range(ranks) for b in middles.batches(rank=rank, ranks=ranks) for clip in b.clips]
            assert sorted(seen) == list(range(7))
        with pytest.raises(RecipeError, match=r"training\.batch"):
            next(Loader(job(videos), 3).batches(ranks=2))

    def test_mirrored_clips_get_the_mirrored_label(self, videos: list[Clip]) -> None:
        plain = {"scales": (1.0,), "crop": "center", "brightness": 0.0, "saturation": 0.0, "rotate": 0.0}
        with_flip, without = job(videos[:1], **plain), job(videos[:1], **plain, flip=False)
        seen = set()
        for epoch in range(12):
            made, label = with_flip[epoch, 0]
            other, _ = without[epoch, 0]
            flipped = not np.array_equal(made, other)
            seen.add(flipped)
            assert label == int(flipped)
            assert np.array_equal(made[:, :, ::-1] if flipped else made, other)
        assert seen == {True, False}

    def test_broken_clips_are_told_once_and_left_out(self, tmp_path: Path, videos: list[Clip]) -> None:
        (tmp_path / "bad.mp4").write_text("no video")
        clips = [*videos[:3], Clip(tmp_path / "bad.mp4", 0, "bad")]
        said: list[SourceError] = []
        batches = Loader(job(clips), 4, broken=said.append)
        assert [sorted(b.clips) for epoch in range(2) for b in batches.batches(epoch)] == [[0, 1, 2]] * 2
        assert len(said) == 1
        assert "bad.mp4" in str(said[0])
        with pytest.raises(SourceError, match=r"bad\.mp4"):
            list(Loader(job(clips), 4).batches())

    def test_a_batch_without_a_clip_that_can_be_read_is_made_of_others(self, tmp_path: Path, videos: list[Clip]) -> None:
        """Each step is taken, on each rank and in each part; what is skipped is told once. Without any it is an error."""
        (tmp_path / "bad.mp4").write_text("no video")
        bad = [Clip(tmp_path / "bad.mp4", 0, f"bad {i}") for i in range(5)]
        for shape in ({"accumulate": 1}, {"accumulate": 2}, {"accumulate": 1, "ranks": 2}):
            said: list[SourceError] = []
            ranks = shape.pop("ranks", 1)
            batches = Loader(job([*videos[:3], *bad]), 2, broken=said.append, **shape)
            for epoch in range(3):
                for rank in range(ranks):
                    made = list(batches.batches(epoch, rank=rank, ranks=ranks))
                    assert [b.step for b in made if b.last] == [0, 1, 2, 3]
                    assert sum(b.share for b in made) == 4 / ranks
                    assert all(b.clips and set(b.clips) <= {0, 1, 2} and len(b.labels) == len(b.clips) for b in made)
            assert len(said) == 5
        with pytest.raises(SourceError, match="None of the clips can be read"):
            list(Loader(job(bad), 2, broken=said.append).batches())

    def test_a_validation_may_end_with_a_broken_clip(self, tmp_path: Path, videos: list[Clip]) -> None:
        """Which is a batch by itself; without any other it is an error."""
        (tmp_path / "bad.mp4").write_text("no video")
        clips, store = [*videos[:2], Clip(tmp_path / "bad.mp4", 0, "bad")], Store(Preprocess(resize=24))
        loader = Loader(Middles(clips, store, 6, SIZE, Sampling()), 2, broken=lambda error: None)
        assert [b.clips for b in loader.batches()] == [(0, 1)]
        with pytest.raises(SourceError, match="None of the clips can be read"):
            list(Loader(Middles(clips[2:], store, 6, SIZE, Sampling()), 2, broken=lambda error: None).batches())

    def test_the_middle_is_cut_as_in_prediction_and_normalized_to_the_same_bits(self, videos: list[Clip]) -> None:
        how = Preprocess(resize=24, crop=SIZE, mean=(0.43, 0.39, 0.37), std=(0.22, 0.221, 0.217))
        store = Store(loader.evaluation_geometry(how))
        (batch,) = Loader(Middles(videos[:2], store, 6, SIZE, Sampling()), 2).batches()
        for clip, made in zip(videos, normalize(batch.frames, how), strict=False):
            seen = decode.pictures(clip, how)
            begin = (len(seen) - 6) // 2
            expected = as_predicted(seen[begin : begin + 6], how).transpose(1, 0, 2, 3)
            assert np.array_equal(made.numpy(), expected)

    @pytest.mark.parametrize(
        "how", [Preprocess(mean=(0.3, 0.4, 0.5), std=(0.22, 0.3, 0.1)), Preprocess(**GRAY), Preprocess(scale=1.0)]
    )
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
    def test_every_value_is_normalized_to_the_same_bits(self, how: Preprocess, layout: torch.memory_format) -> None:
        levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(how.channels, 3)
        made = normalize(torch.from_numpy(levels[None]), how, memory_format=layout)
        assert made.is_contiguous(memory_format=layout)
        assert np.array_equal(made[0].numpy(), as_predicted(levels, how).transpose(1, 0, 2, 3))

    def test_recipes_make_loaders(self, videos: list[Clip]) -> None:
        recipe = ClipRecipe.model_validate(
            {"name": "x", "model": {"name": "m"}, "data": {"workers": 0, "cache": False}, "training": {"batch": 2}}
        )
        found = Collection(("a", "b", "c"), {"train": tuple(videos[:5]), "validation": tuple(videos[5:])})
        how = Preprocess(resize=24, crop=SIZE)
        training, evaluation = loader.stores(recipe, found, how, SIZE)
        assert (training.preprocess.resize, evaluation.preprocess.resize) == (28, 24)
        with loader.training_loader(recipe, found, training, 6, SIZE) as batches:
            assert [tuple(b.frames.shape) for b in batches.batches()] == [(2, 6, *SIZE, 3)] * 2
        with loader.validation_loader(recipe, found.splits["validation"], evaluation, 6, SIZE) as batches:
            assert [b.labels.tolist() for b in batches.batches()] == [[2, 0]]


class TestViews:
    def test_whole_videos_in_order(self, tmp_path: Path, videos: list[Clip]) -> None:
        (tmp_path / "bad.mp4").write_text("no video")
        clips = [videos[3], Clip(tmp_path / "bad.mp4", 0, "bad"), videos[1]]
        for workers in (0, 2):
            first, bad, second = whole_videos(clips, Store(Preprocess(resize=20)), workers)
            assert isinstance(bad, SourceError)
            assert isinstance(first, np.ndarray)
            assert (len(first), len(second)) == (19, 13)

    def test_each_kind(self) -> None:
        video = np.random.default_rng(0).integers(0, 256, (40, 30, 40, 3), np.uint8)
        made = {kind: views(video, 8, SIZE, Sampling(), kind) for kind in ("middle", "non-overlapping", "10-crop", "30-view")}
        assert {kind: len(clips) for kind, (clips, _) in made.items()} == {
            "middle": 1, "non-overlapping": 5, "10-crop": 10, "30-view": 30,
        }  # fmt: skip
        assert np.array_equal(made["middle"][0][0], video[16:24, 3:27, 8:32])
        clips, flips = made["10-crop"]
        assert flips.tolist() == [False] * 5 + [True] * 5
        assert np.array_equal(clips[5:, :, :, ::-1], clips[:5])
        assert np.array_equal(clips[1], video[16:24, :24, 16:])
        assert np.array_equal(made["30-view"][0][-1], video[32:, 3:27, 16:])
        assert np.array_equal(made["non-overlapping"][0].reshape(40, *SIZE, 3), video[:, 3:27, 8:32])

    def test_a_video_that_is_too_small_is_refused(self) -> None:
        with pytest.raises(SourceError, match="at least 24x24"):
            views(np.zeros((4, 20, 40, 3), np.uint8), 2, SIZE, Sampling(), "middle")


class TestWorkers:
    @pytest.mark.parametrize("job", [Deadly(), DeadlyBesideSlow()])
    def test_a_killed_worker_is_an_error_that_names_its_tasks(self, job: Deadly) -> None:
        with (
            Pool(job, 2, name=lambda task: f"clip {task}") as pool,
            pytest.raises(EveryframeError, match=r"died(.|\n)*clip 3"),
        ):
            list(pool.run(range(20)))

    def test_errors_and_results_keep_their_order(self) -> None:
        with Pool(Refusing(), 2) as pool:
            results = pool.run(range(10))
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(SourceError, match="No"):
                next(results)
            assert list(pool.run([5, 6])) == [5, 6]  # the workers go on
