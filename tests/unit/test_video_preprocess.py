"""One function from pictures to the network's input: sizes, colors and values, for decoded frames and for arrays
alike.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

import handmade
from everyframe.errors import SourceError, StateError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import normalize, output_size, prepare
from running import at_once

GRAY = {"color": "gray", "mean": (0.0,), "std": (1.0,)}


ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def as_yuv(array: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """What a decoder gives: limited-range YUV (or another format) of the picture."""
    return av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pixel_format, interpolation=ACCURATE)


@pytest.mark.parametrize(
    ("size", "resize", "crop", "expected"),
    [
        ((480, 640), None, None, (480, 640)),
        ((480, 640), 160, None, (160, 213)),
        ((640, 480), 160, None, (213, 160)),
        ((480, 640), (112, 112), None, (112, 112)),
        ((480, 640), (128, 171), (112, 112), (112, 112)),
        ((480, 640), 182, (182, 182), (182, 182)),
        ((37, 51), 37, (31, 33), (31, 33)),
        ((48, 64), 96, None, (96, 128)),
    ],
)
def test_sizes(
    size: tuple[int, int], resize: int | tuple[int, int] | None, crop: tuple[int, int] | None, expected: tuple
) -> None:
    how = Preprocess(resize=resize, crop=crop)
    assert output_size(*size, how) == expected
    assert prepare(smooth(*size), how).shape == (*expected, 3)
    assert prepare(as_yuv(smooth(*size)), how).shape == (*expected, 3)


def test_the_crop_is_the_center() -> None:
    array = smooth(20, 30)
    np.testing.assert_array_equal(prepare(array, Preprocess(crop=(10, 12))), array[5:15, 9:21])


def test_a_crop_that_does_not_fit_says_so() -> None:
    with pytest.raises(SourceError, match=r"smaller than the model's crop(.|\n)*at least 112x112(.|\n)*48x64"):
        prepare(smooth(48, 64), Preprocess(crop=(112, 112)))


def test_an_array_that_needs_nothing_is_unchanged() -> None:
    array = smooth(36, 48)
    np.testing.assert_array_equal(prepare(array, Preprocess()), array)
    np.testing.assert_array_equal(prepare(array, Preprocess(color="bgr")), array[..., ::-1])


def test_resizing_is_pillows_antialiased_bilinear() -> None:
    array = smooth(240, 320)
    for size in ((60, 80), (100, 171), (300, 400)):
        expected = np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        got = prepare(array, Preprocess(resize=size)).astype(int)
        assert np.abs(got - expected).max() <= 1
        assert abs((got - expected).mean()) < 0.15


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv444p", "nv12", "yuyv422", "bgr24", "rgba"])
@pytest.mark.parametrize("size", [None, (36, 48), (119, 161)])
def test_decoded_frames_and_arrays_of_one_picture_agree(pixel_format: str, size: tuple[int, int] | None) -> None:
    """Whatever format and range a decoder or camera delivers: no bias, and only the rounding of 8-bit YUV."""
    array = smooth(120, 160)
    for how in (Preprocess(resize=size), Preprocess(resize=size, **GRAY)):
        difference = prepare(as_yuv(array, pixel_format), how).astype(int) - prepare(array, how)
        assert np.abs(difference).mean() < 2, how.color
        assert abs(difference.mean()) < 0.6, how.color


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "rgb24", "gray"])
@pytest.mark.parametrize("size", [None, (20, 30), (60, 90)])
@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_gray_is_full_range_from_every_format(pixel_format: str, size: tuple[int, int] | None, level: int) -> None:
    picture = as_yuv(handmade.picture(level), pixel_format)
    got = prepare(picture, Preprocess(resize=size, **GRAY))
    assert got.shape[2] == 1
    assert np.abs(got.astype(int) - level).max() <= 1


def test_gray_is_bt601_luma() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 30, 90], [255, 255, 255], [0, 0, 0]]], np.uint8)
    expected = np.rint(colors @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    np.testing.assert_array_equal(prepare(colors, Preprocess(**GRAY))[..., 0], expected)


def test_gray_arrays_may_be_handed_over() -> None:
    level = smooth(36, 48)[..., 0]
    np.testing.assert_array_equal(prepare(level, Preprocess(**GRAY))[..., 0], level)
    np.testing.assert_array_equal(prepare(level[..., None], Preprocess(**GRAY))[..., 0], level)
    np.testing.assert_array_equal(prepare(level, Preprocess())[..., 2], level)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 4), np.uint8), np.zeros(7, np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(StateError, match="not a picture"):
        prepare(bad, Preprocess())


def test_floats_are_refused() -> None:
    with pytest.raises(StateError, match=r"hold bytes(.|\n)*uint8(.|\n)*float64"):
        prepare(np.zeros((4, 4, 3)), Preprocess())


def test_the_size_of_a_picture_held_upright() -> None:
    assert output_size(40, 30, Preprocess(resize=15)) == (20, 15)


def test_normalize_is_what_the_contract_says() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    how = Preprocess(scale=1 / 255, mean=(0.45, 0.4, 0.5), std=(0.225, 0.2, 0.25))
    expected = ((batch.astype(np.float64) / 255 - how.mean) / how.std).transpose(0, 3, 1, 2)
    got = normalize(batch, how)
    assert (got.dtype, got.shape, got.flags.c_contiguous) == (np.float32, (2, 3, 5, 7), True)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    out = np.empty_like(got)
    assert normalize(batch, how, out=out) is out
    np.testing.assert_array_equal(out, got)


def test_normalize_refuses_other_channels() -> None:
    with pytest.raises(StateError, match=r"\(N, H, W, 1\) for color 'gray'(.|\n)*\(1, 4, 4, 3\)"):
        normalize(np.zeros((1, 4, 4, 3), np.uint8), Preprocess(**GRAY))


def test_threads_do_not_disturb_each_other() -> None:
    arrays = [smooth(100 + 10 * i, 160, seed=i) for i in range(4)]
    how = Preprocess(resize=(40, 50))
    expected = [prepare(array, how) for array in arrays]

    def right(i: int) -> bool:
        return all(np.array_equal(prepare(arrays[i], how), expected[i]) for _ in range(50))

    assert at_once(right, 4) == [True] * 4


def test_a_file_gives_what_its_decoded_arrays_give(tmp_path: Path) -> None:
    """The whole road through the decode process equals preparing in this one."""
    from everyframe.video import Reader, resolve

    path = handmade.write_video(tmp_path / "v.mkv", [smooth(120, 160, seed=s) for s in range(3)], codec="ffv1")
    how = Preprocess(resize=40, crop=(36, 48), color="bgr")
    with Reader(resolve(path)[0], how) as reader, av.open(str(path)) as container:
        for got, decoded in zip(reader, container.decode(video=0), strict=True):
            np.testing.assert_array_equal(got.data, prepare(decoded, how))
