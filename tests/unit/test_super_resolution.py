"""The pieces of super-resolution: the field's bicubic and figures, pictures in folders, the network, its crops, other sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from everyframe import modelfile, recipes
from everyframe.errors import EngineError, EveryframeError, ModelError, RecipeError, SourceError, WeightsError
from everyframe.modelfile.file import Held
from everyframe.recipes.super_resolution import Data, ModelSection
from everyframe.runtime.program import Program
from everyframe.tasks.super_resolution import cache, enhance, metrics
from everyframe.tasks.super_resolution.crops import Crops
from everyframe.tasks.super_resolution.enhance import Enhancer, pieces
from everyframe.tasks.super_resolution.export import export
from everyframe.tasks.super_resolution.network import Network
from everyframe.tasks.super_resolution.pictures import Pair, find, read
from everyframe.tasks.super_resolution.resize import bicubic, cubic, matrix, taps
from everyframe.tasks.super_resolution.run import load
from helpers import shared_dir

TINY = ModelSection(scale=2, channels=4, depth=2, wide=8, size=(20, 24))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def lively(settings: ModelSection, seed: int = 0) -> Network:
    """Random weights in the last layer too."""
    torch.manual_seed(seed)
    net = Network(settings).eval()
    torch.nn.init.normal_(net.last.narrow, std=0.02)
    return net


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(lively(TINY), tmp_path_factory.mktemp("still"))


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(lively(TINY.model_copy(update={"shift": 0.5})), tmp_path_factory.mktemp("moving"))


# --- figures of the field ---


@pytest.mark.parametrize(("scale", "published"), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_has_its_published_figure(scale: int, published: float) -> None:
    folder = shared_dir() / "data" / "sr" / "set5"
    if not folder.is_dir():
        pytest.skip(f"the pictures are not at {folder}")
    found = []
    for pair in find(folder, scale):
        small, large = pair.read(scale)
        made = bicubic(metrics.luma(small), large.shape[:2])
        found.append(metrics.psnr(made, metrics.luma(large), scale))
    assert np.mean(found) == pytest.approx(published, abs=0.02)


@given(size=st.integers(6, 40), made=st.integers(3, 60))
def test_resizing_is_the_kernel_at_every_place(size: int, made: int) -> None:
    """Against the definition, one value at a time: a stretched kernel, normalized, over a picture that is mirrored."""
    row = np.random.default_rng(size * 100 + made).random(size)
    stretch, found = max(1.0, size / made), bicubic(row[:, None], (made, 1))[:, 0]
    for place in range(made):
        center, total, weights = (place + 0.5) * size / made - 0.5, 0.0, 0.0
        for at in range(int(center - 2 * stretch) - 2, int(center + 2 * stretch) + 3):
            weight = float(cubic(np.array((center - at) / stretch)))
            inside = at % (2 * size)
            total, weights = total + weight * row[min(inside, 2 * size - 1 - inside)], weights + weight
        assert found[place] == pytest.approx(total / weights, abs=1e-9)
    assert np.allclose(matrix(size, made) @ row, found, atol=1e-5)


def test_enlarging_is_pillows_inside_of_a_picture() -> None:
    """Pillow has the same kernel, and other borders; the widened one of reductions is its own too."""
    gray = picture(40, 40)[..., 0].astype(np.float32)
    for size in ((80, 80), (120, 120), (20, 20), (10, 10)):
        other = np.asarray(Image.fromarray(gray).resize(size[::-1], Image.Resampling.BICUBIC))
        edge = size[0] // 5
        assert np.allclose(bicubic(gray, size)[edge:-edge, edge:-edge], other[edge:-edge, edge:-edge], atol=0.01)


def test_luma_and_psnr_by_hand() -> None:
    white = np.full((31, 31, 3), 255, np.uint8)
    assert np.allclose(metrics.luma(white), 235) and np.allclose(metrics.luma(0 * white), 16)
    truth = metrics.luma(white)
    assert metrics.psnr(truth - 5, truth, 4) == pytest.approx(10 * np.log10(255**2 / 25))
    spoiled = truth.copy()
    spoiled[:4] = spoiled[-4:] = spoiled[:, :4] = spoiled[:, -4:] = 0  # a border as wide as the scale does not count
    assert metrics.psnr(spoiled, truth, 4) == float("inf")
    with pytest.raises(SourceError, match="cannot be compared"):
        metrics.psnr(truth[:12], truth[:12], 2)


def test_ssim_by_hand() -> None:
    """The Gaussian window laid on each place as a 2-D array, as the paper writes it."""
    a, b = (np.rint(metrics.luma(picture(20, 22, seed))) for seed in (1, 2))
    axis = np.arange(11) - 5
    window = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (each[top : top + 11, left : left + 11] for each in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy, both = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum(), (window * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert metrics.ssim(a, b, 0) == pytest.approx(np.mean(values), abs=1e-9)
    assert metrics.ssim(a, a, 0) == pytest.approx(1)


# --- pictures ---


def test_folders_are_read_as_div2k_keeps_them(tmp_path: Path) -> None:
    large, small = tmp_path / "D_HR", tmp_path / "D_LR_bicubic" / "X4"
    large.mkdir(), small.mkdir(parents=True)
    for name in ("0010", "0002"):
        Image.fromarray(picture(43, 50)).save(large / f"{name}.png")
    assert [pair.name for pair in find(large, 3)] == ["0002.png", "0010.png"] and find(large, 3)[0].small is None
    low, high = find(large, 3)[0].read(3)
    assert low.shape == (14, 16, 3) and high.shape == (42, 48, 3)
    with pytest.raises(SourceError, match="Small pictures are missing"):
        find(large, 4)
    for name in ("0010", "0002"):
        Image.fromarray(np.full((10, 12, 3), 7, np.uint8)).save(small / f"{name}x4.png")
    assert (find(large, 4)[0].read(4)[0] == 7).all()  # taken, not made
    Image.fromarray(picture(9, 9)).save(small / "0002x4.png")
    with pytest.raises(SourceError, match="does not fit"):
        find(large, 4)[0].read(4)


def test_small_pictures_among_large_ones_are_left_out(tmp_path: Path) -> None:
    for name in ("1", "1_lr4", "1x2", "box4"):
        Image.fromarray(picture(16, 16)).save(tmp_path / f"{name}.png")
    assert [pair.name for pair in find(tmp_path, 4)] == ["1.png", "box4.png"]
    with pytest.raises(SourceError, match="no pictures in this folder"):
        find(tmp_path.parent, 4)


def test_kept_luma_is_that_of_the_picture(tmp_path: Path) -> None:
    Image.fromarray(picture(32, 36)).save(tmp_path / "a.png")
    pair = Pair(tmp_path / "a.png")
    plain, kept = cache.Lumas((pair,), 4, None)[0], cache.Lumas((pair,), 4, tmp_path / "kept")
    for mine, other in zip(kept[0], plain, strict=True):
        assert (mine == other).all() and mine.dtype == np.uint8
    entry = next((tmp_path / "kept").glob("*_large.npy"))
    entry.write_bytes(entry.read_bytes()[:50])  # cut short: made again
    assert (cache.Lumas((pair,), 4, tmp_path / "kept")[0][1] == plain[1]).all()
    exact = metrics.luma(read(tmp_path / "a.png"))
    assert np.abs(metrics.luma_of_gray(plain[1]) - exact).max() < 0.5  # a byte of full range is finer than one of Y


# --- crops ---


def test_a_crop_depends_on_its_number_alone_and_is_a_part_of_the_picture(tmp_path: Path) -> None:
    Image.fromarray(picture(96, 112)).save(tmp_path / "a.png")
    lumas = cache.Lumas((Pair(tmp_path / "a.png"),), 4, None)
    crops = Crops(lumas, Data(crop=8, flip=False), 3, moving=False)
    small, large = crops((1, 5))
    assert small.shape == (1, 8, 8, 1) and large.shape == (1, 32, 32)
    assert (crops((1, 5))[0] == small).all() and not (crops((1, 6))[0] == small).all()
    windows = np.lib.stride_tricks.sliding_window_view(lumas[0][0], (8, 8))[:, :]
    top, left = np.argwhere((windows == small[0, ..., 0]).all((2, 3)))[0]
    assert (lumas[0][1][4 * top : 4 * top + 32, 4 * left : 4 * left + 32] == large[0]).all()
    refused = Crops(lumas, Data(crop=40), 3, moving=False)((0, 0))
    assert isinstance(refused, SourceError) and "too small" in refused.what


def test_a_moving_crop_is_reduced_from_where_it_is(tmp_path: Path) -> None:
    Image.fromarray(picture(160, 160)).save(tmp_path / "a.png")
    lumas = cache.Lumas((Pair(tmp_path / "a.png"),), 2, None)
    small, large = Crops(lumas, Data(crop=16, frames=4, speed=5, flip=True), 0, moving=True)((0, 1))
    assert small.shape == (4, 16, 16, 1) and large.shape == (4, 32, 32) and not (large[0] == large[1]).all()
    for low, high in zip(small[..., 0], large, strict=True):  # inside, where the crop's border does not matter
        made = bicubic(high.astype(float), (16, 16))
        assert np.abs(made - low)[3:-3, 3:-3].max() <= 1


# --- the network and its file ---


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_new_network_is_bicubic_interpolation(scale: int) -> None:
    gray = picture(24, 28)[..., 0] / 255
    net = Network(TINY.model_copy(update={"scale": scale})).eval()
    made = net(torch.tensor(gray, dtype=torch.float32)[None, None]).detach().numpy()[0, 0]
    wanted, edge = bicubic(gray, (24 * scale, 28 * scale)), 3 * scale
    assert np.abs(made - wanted)[edge:-edge, edge:-edge].max() < 1e-5


@pytest.mark.parametrize("first", [3, 5])
@pytest.mark.parametrize("reduce", [1, 2])
def test_the_first_convolution_sees_no_border_of_a_plain_picture(reduce: int, first: int) -> None:
    net, seen = lively(TINY.model_copy(update={"reduce": reduce, "first": first})), []
    for one in (net, net.collapsed()):
        one.first.register_forward_hook(lambda *given: seen.append(given[-1]))
        with torch.no_grad():
            one(torch.full((1, 1, 12, 16), 0.7))
    for made in seen:
        assert made.shape[-2:] == (12 // reduce, 16 // reduce)
        assert (made - made[..., :1, :1]).abs().max() < 1e-5
    assert len(seen) == 2


def test_the_collapsed_network_is_the_same_and_small() -> None:
    net = lively(TINY.model_copy(update={"channels": 6, "wide": 32}))
    x = torch.rand(2, 1, 9, 11)
    plain = net.collapsed()
    assert torch.allclose(net(x), plain(x), atol=1e-6)
    count = 25 * 6 + 6 + 2 * (9 * 36 + 6) + 4 * (9 * 6 + 1) + 4 * 25
    assert sum(value.numel() for value in plain.parameters()) == count


def test_the_step_network_says_what_the_video_network_says(moving: Path) -> None:
    """A video of another length and another size than the file was made for, frame by frame."""
    net = lively(TINY.model_copy(update={"shift": 0.5})).collapsed()
    video = np.stack([picture(14, 30, seed)[..., 0] for seed in range(7)])
    wanted = net(torch.from_numpy(video).float().div(255)[None, None])[0, 0].detach().numpy() * 255
    with Enhancer(moving, engine="ort") as enhancer:
        assert enhancer.remembers
        stream = enhancer.stream((14, 30))
        found = np.stack([stream.gray(frame) for frame in video])
    assert np.abs(found - wanted).max() < 1e-2
    assert (
        np.abs(found[1] - net(torch.from_numpy(video[1:2]).float()[None, None] / 255)[0, 0, 0].detach().numpy() * 255).max()
        > 0.01
    )


@pytest.mark.parametrize("which", ["still", "moving"])
def test_parts_give_the_whole(which: str, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(which)
    frames = [picture(50, 37, seed)[..., 0] for seed in range(3)]
    with Enhancer(file, engine="ort") as whole, Enhancer(file, engine="ort", whole=1, part=24) as parts:
        assert parts.reach == 2 + 2 + 1
        one, many = whole.stream((50, 37)), parts.stream((50, 37))
        assert len(one.parts) == 1 and len(many.parts) > 4
        for frame in frames:
            assert np.abs(one.gray(frame) - many.gray(frame)).max() < 1e-3


@given(side=st.integers(1, 200), part=st.integers(1, 64), overlap=st.integers(0, 8))
def test_pieces_cover_a_side_once_with_their_overlap(side: int, part: int, overlap: int) -> None:
    part = min(part, side)
    if side > part and part <= 2 * overlap:
        with pytest.raises(EveryframeError):
            list(pieces(side, part, overlap))
        return
    covered = []
    for begin, low, high in pieces(side, part, overlap):
        assert 0 <= begin <= low < high <= begin + part <= side
        assert low - begin >= overlap or begin == 0
        assert begin + part - high >= overlap or begin + part == side
        covered += range(low, high)
    assert covered == list(range(side))


def test_the_file_says_what_it_is_and_others_are_refused(still: Path, moving: Path) -> None:
    told = modelfile.metadata_of(modelfile.load(still), still)
    assert told is not None and (told.task, told.kind, told.preprocess.color) == ("enhance", "step", "gray")
    with Enhancer(still, engine="ort") as enhancer:
        assert enhancer.scale == 2 and not enhancer.remembers
    with pytest.raises(ModelError, match="does not enhance"):
        Enhancer(Path(modelfile.__file__).parents[1] / "assets" / "motions.onnx")
    with pytest.raises(ModelError, match="clip model"):
        Enhancer(moving.with_name("clip.onnx"))
    model = onnx.load(still)
    prop = next(each for each in model.metadata_props if each.key == "everyframe")
    prop.value = json.dumps({**json.loads(prop.value), "task": "classify"})
    with pytest.raises(ModelError, match="does not enhance"):
        Enhancer(Held(model))


def test_what_is_not_finite_is_said(still: Path) -> None:
    model = onnx.load(still)
    for weights in model.graph.initializer:
        if len(weights.dims) == 4:
            weights.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weights.dims), 1e38, np.float32), weights.name))
    with pytest.raises(EngineError, match="not finite"), Enhancer(Held(model), engine="ort") as enhancer:
        enhancer.stream((8, 8)).gray(np.full((8, 8), 255, np.uint8))


def test_single_pictures_are_not_worth_a_race(still: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        enhance, "Program", lambda given, *, engine, threads: asked.append(engine) or Program(given, engine="ort")
    )
    with Enhancer(still) as enhancer:
        enhancer.stream((8, 8)), enhancer.stream((8, 8), video=True)
    with Enhancer(still, engine="openvino") as enhancer:
        enhancer.stream((8, 8))
    assert asked == ["ort", "auto", "openvino"]


def test_colors_are_kept(still: Path) -> None:
    flat = np.full((10, 12, 3), (200, 40, 90), np.uint8)
    with Enhancer(Held(onnx.load(export(Network(TINY), still.parent))), engine="ort") as enhancer:
        made = enhancer.stream((10, 12)).color(flat)
    assert made.shape == (20, 24, 3) and np.abs(made[4:-4, 4:-4].astype(int) - flat[0, 0]).max() <= 2


def test_weights_of_another_scale_are_a_beginning(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(lively(TINY, 5).state_dict(), tmp_path / "best.safetensors")
    net = Network(TINY.model_copy(update={"scale": 3}))
    load(net, tmp_path)
    assert torch.equal(net.first.wide, lively(TINY, 5).first.wide) and not net.last.narrow.any()
    with pytest.raises(WeightsError, match="another network"):
        load(Network(TINY.model_copy(update={"channels": 5})), tmp_path / "best.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load(net, tmp_path / "nothing")


def test_recipes_are_refused_with_their_key() -> None:
    text = 'name = "a"\ntask = "enhance"\n[model]\nscale = 5\n'
    with pytest.raises(RecipeError, match=r"line 4, key model\.scale"):
        recipes.parse(text)
    with pytest.raises(RecipeError, match="shift stands before"):
        recipes.parse('name = "a"\ntask = "enhance"\n[model]\nshift = 0.5\ndepth = 0\n')


@settings(max_examples=10)
@given(size=st.integers(8, 64))
def test_taps_sum_to_one(size: int) -> None:
    for made in (size * 4, max(1, size // 4)):
        assert np.allclose(taps(size, made)[1].sum(1), 1)
