"""What two boxes share, against counted points; labels and scans as files; the average precision, against a plain walk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.data.scans import kitti, objects, overlap, points
from everyframe.data.scans.objects import Calibration, Objects
from everyframe.errors import SourceError
from everyframe.tasks.detection import metrics
from everyframe.tasks.detection.metrics import CLASSES, DIFFICULTIES, average_precision

finite = st.floats(-3, 3)
boxes = st.builds(
    lambda x, y, z, sides, yaw: np.array([[x, y, z, *sides, yaw]]),
    finite, finite, st.floats(-1, 1), st.tuples(*[st.floats(0.3, 5)] * 3), st.floats(-7, 7),
)  # fmt: skip


def counted(a: np.ndarray, b: np.ndarray, count: int = 60_000) -> float:
    """The common area of two rectangles (1, 5), by points thrown into the first."""
    rng = np.random.default_rng(0)
    local = rng.uniform(-0.5, 0.5, (count, 2)) * a[0, 2:4]
    cos, sin = np.cos(a[0, 4]), np.sin(a[0, 4])
    world = local @ np.array([[cos, sin], [-sin, cos]]) + a[0, :2] - b[0, :2]
    cos, sin = np.cos(b[0, 4]), np.sin(b[0, 4])
    there = np.abs(world @ np.array([[cos, -sin], [sin, cos]])) <= b[0, 2:4] / 2
    return float(there.all(1).mean() * a[0, 2] * a[0, 3])


@given(boxes, boxes)
def test_what_two_share_is_what_points_say(a: np.ndarray, b: np.ndarray) -> None:
    one, other = overlap.flat(a), overlap.flat(b)
    found = overlap.common_areas(one, other)[0, 0]
    area = one[0, 2] * one[0, 3]
    share = min(max(found / area, 0), 1)
    assert abs(found - counted(one, other)) <= area * (5 * np.sqrt(share * (1 - share) / 60_000) + 5e-4)


@given(boxes, boxes, st.floats(-9, 9), st.tuples(finite, finite))
def test_laws_of_overlap(a: np.ndarray, b: np.ndarray, angle: float, moved: tuple[float, float]) -> None:
    for share in (overlap.ground, overlap.space):
        assert share(a, a)[0, 0] == pytest.approx(1)
        assert share(a, b)[0, 0] == pytest.approx(share(b, a)[0, 0], abs=1e-9)
        turned = [each.copy() for each in (a, b)]
        for each in turned:  # the whole plane turned and moved
            x, y = each[0, :2]
            each[0, :2] = x * np.cos(angle) - y * np.sin(angle) + moved[0], x * np.sin(angle) + y * np.cos(angle) + moved[1]
            each[0, 6] += angle
        assert share(*turned)[0, 0] == pytest.approx(share(a, b)[0, 0], abs=1e-6)
    half = a.copy()
    half[0, 6] += np.pi  # seen from behind it is the same rectangle
    assert overlap.ground(a, half)[0, 0] == pytest.approx(1)
    inner = a.copy()
    inner[0, 3:6] /= 2
    assert overlap.ground(inner, a, "first")[0, 0] == pytest.approx(1)
    assert overlap.space(inner, a)[0, 0] == pytest.approx(1 / 8)


def test_of_two_that_share_the_better_stays() -> None:
    found = np.array([[0, 0, 0, 4, 2, 1, 0], [0.3, 0, 0, 4, 2, 1, 0.1], [9, 0, 0, 4, 2, 1, 0], [0, 1.9, 0, 4, 2, 1, 0]], float)
    assert overlap.without_doubles(found, np.array([0.5, 0.9, 0.4, 0.2]), 0.1).tolist() == [1, 2, 3]


# -- files


@given(st.lists(boxes, min_size=1, max_size=4))
def test_labels_lead_back_to_their_boxes(each: list[np.ndarray]) -> None:
    """Through a lidar that is mounted askew, and the text of a file, which has two decimals."""
    given = np.concatenate(each)
    given[:, 0] += 15
    tilt = np.radians(1.5)
    to_camera = Calibration().to_camera @ np.array(
        [[np.cos(tilt), -np.sin(tilt), 0, 0.3], [np.sin(tilt), np.cos(tilt), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    told = objects.read_calibration(Calibration(to_camera=to_camera).text(), "here")
    text = told.objects(given, ["Car"] * len(given), np.full(len(given), 0.5)).text()
    back = objects.parse(text.splitlines(), "there")
    found = told.boxes(back)
    assert np.abs(found[:, :6] - given[:, :6]).max() < 0.03
    assert np.abs(np.exp(1j * found[:, 6]) - np.exp(1j * given[:, 6])).max() < 0.01
    assert back.scores is not None and back.scores.tolist() == [0.5] * len(given)


def test_a_picture_holds_what_is_ahead() -> None:
    ahead, behind, aside = ([x, y, 0, 4, 1.6, 1.5, 0] for x, y in ((20, 0), (-20, 0), (10, 9.5)))
    seen, cut = Calibration().seen(np.array([ahead, behind, aside], float))
    assert cut[0] == 0 and cut[1] == 1 and 0 < cut[2] < 1
    width = 721.54 * 1.6 / (18 - 0.27)  # of the near end
    assert seen[0, 2] - seen[0, 0] == pytest.approx(width, rel=0.02) and (seen[1] == 0).all()
    assert Calibration().objects(np.array([behind], float), ["Car"]).truncated[0] == 1


def test_kittis_folders(tmp_path: Path) -> None:
    root = tmp_path / "training"
    cloud = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    for name in ("000001", "000000"):
        points.write(cloud, _made(root / "velodyne" / f"{name}.bin"))
    _made(root / "label_2" / "000001.txt").write_text("Car 0 0 0 1 2 3 4 1.5 1.6 4 1 2 20 0.1\n")
    _made(tmp_path / "ImageSets" / "train.txt").write_text("000001\n")
    _made(tmp_path / "ImageSets" / "val.txt").write_text("")
    found = kitti.find(tmp_path)
    assert [scan.name for scan in found] == ["000000", "000001"] and found[0].labels is None
    assert (found[1].points() == cloud).all() and found[1].objects().names == ("Car",)
    assert [scan.name for scan in kitti.find(tmp_path, "train")] == ["000001"] and kitti.find(tmp_path, "val") == []
    assert [scan.name for scan in kitti.find(root / "velodyne")] == ["000000", "000001"]
    assert kitti.find(root / "velodyne" / "000001.bin")[0].labels is not None
    with pytest.raises(SourceError, match="no labels"):
        found[0].objects()
    with pytest.raises(SourceError, match="no list of this split"):
        kitti.find(tmp_path, "test")
    with pytest.raises(SourceError, match="no scans here"):
        kitti.find(tmp_path / "ImageSets")


def test_a_sequence_has_its_labels_in_one_file(tmp_path: Path) -> None:
    for frame in (0, 1):
        points.write(np.ones((3, 4), np.float32), _made(tmp_path / "velodyne" / "0007" / f"{frame:06d}.bin"))
    labels = _made(tmp_path / "label_02" / "0007.txt")
    nobody = "1 -1 DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"
    labels.write_text(f"1 3 Cyclist 0 0 0 1 2 3 4 1.5 1.6 4 1 2 20 0.1\n{nobody}\n")
    _made(tmp_path / "calib" / "0007.txt").write_text(
        Calibration().text().replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
    )
    first, second = kitti.find(tmp_path)
    assert (second.name, second.frame, len(first.objects())) == ("0007/000001", 1, 0)
    assert second.objects().names == ("Cyclist", "DontCare")
    assert np.allclose(second.calibration().to_camera, Calibration().to_camera)
    labels.write_text("1 Cyclist\n")
    with pytest.raises(SourceError, match="line 1"):
        second.objects()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("cut.bin", b"12345678901234567", "cut short"), ("empty.bin", b"", "empty"), ("a.pcd", b"VERSION", "no scan"),
        ("nan.bin", np.full(8, np.nan, "<f4").tobytes(), "no numbers"),
        ("far.bin", np.full(4, np.inf, "<f4").tobytes(), "no numbers"),
        ("five.bin", np.array([[9, -8, 1, 0.5, 0]] * 4, "<f4").tobytes(), "columns are other"),
        ("double.bin", np.array([[9, -8, 1, 0.5]] * 4, "<f8").tobytes(), "columns are other|no numbers|another unit"),
        ("bytes.bin", np.array([1, 2, 0, 255], "<f4").tobytes(), "another unit"),
        ("a.npy", b"\x93NUMPY", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_scan(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=said):
        points.read(tmp_path / name)


def test_arrays_are_scans(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.arange(12.0).reshape(4, 3))
    assert points.read(tmp_path / "three.npy")[:, 3].tolist() == [0] * 4
    np.save(tmp_path / "five.npy", np.zeros((4, 5)))
    with pytest.raises(SourceError, match="no scan"):
        points.read(tmp_path / "five.npy")
    with pytest.raises(SourceError, match="cannot be read"):
        points.read(tmp_path / "missing.bin")


@pytest.mark.parametrize("line", ["Car 0 0", "Car " + "x " * 14, "Car " + "nan " * 14, "Car " + "1 " * 16])
def test_what_is_no_label(line: str) -> None:
    with pytest.raises(SourceError, match=r"(?s)no line of a label file.*line 2"):
        objects.parse(["Car " + "1 " * 14, line], "labels.txt")
    with pytest.raises(SourceError, match="some none"):
        objects.parse(["Car " + "1 " * 14, "Car " + "1 " * 15], "labels.txt")
    with pytest.raises(SourceError, match="not whole"):
        objects.read_calibration("P2: 1 2 3", "calib.txt")


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# -- average precision


def scene(rng: np.random.Generator) -> Objects:
    """Objects near some places of one street, so that there is much to confuse."""
    count = int(rng.integers(0, 9))
    names = rng.choice(["Car", "Car", "Van", "Pedestrian", "Person_sitting", "Cyclist", "DontCare"], count)
    rows = np.zeros((count, objects.COLUMNS))
    rows[:, 0], rows[:, 1] = rng.choice([0, 0, 0.2, 0.4], count), rng.choice([0, 0, 1, 2, 3], count)
    rows[:, 3:5] = rng.integers(0, 3, (count, 2)) * 60
    rows[:, 5:7] = rows[:, 3:5] + rng.choice([20, 25, 26, 39.5, 40, 41, 80], (count, 2))
    rows[:, 7:10] = rng.normal((1.5, 1.6, 3.9), 0.08, (count, 3))
    rows[:, 10:13] = np.stack([rng.integers(0, 3, count) * 1.0, np.full(count, 1.6), rng.integers(0, 3, count) * 2.5 + 10], 1)
    rows[:, 13] = rng.integers(0, 2, count) * 1.5
    rows[names == "DontCare", 7:] = -1000
    return Objects(tuple(names.tolist()), rows)


def near(rng: np.random.Generator, labels: Objects) -> Objects:
    """What might be found of it: some of it not, some twice, some as another class, all a little beside."""
    chosen = [n for n in range(len(labels)) for _ in range(rng.integers(0, 3)) if labels.names[n] != "DontCare"]
    names = [labels.names[n] if rng.random() < 0.8 else str(rng.choice(["Car", "Cyclist", "Pedestrian"])) for n in chosen]
    rows = labels.rows[chosen] + rng.normal(0, 0.06, (len(chosen), objects.COLUMNS))
    rows[:, 3:7] += rng.normal(0, 3, (len(chosen), 4))
    return Objects(tuple(names), rows, rng.integers(1, 20, len(chosen)) / 20)


def walked(truth: list[Objects], found: list[Objects], name: str, level: str, space: str) -> tuple[float, float]:
    """The same rules, step by step and box by box, as KITTI's tool walks: (R40, R11)."""
    limit, alike = CLASSES[name]
    how = DIFFICULTIES[level]

    def shared(a: np.ndarray, b: np.ndarray, first: bool = False) -> float:
        if space == "picture":
            w, h = min(a[5], b[5]) - max(a[3], b[3]), min(a[6], b[6]) - max(a[4], b[4])
            common = w * h if w > 0 and h > 0 else 0.0
            mine, other = ((each[5] - each[3]) * (each[6] - each[4]) for each in (a, b))
        else:
            flat = [np.array([[each[10], each[12], each[9], each[8], -each[13]]]) for each in (a, b)]
            common = overlap.common_areas(*flat)[0, 0]
            mine, other = (each[9] * each[8] for each in (a, b))
            if space == "space":
                common *= max(0.0, min(a[11], b[11]) - max(a[11] - a[7], b[11] - b[7]))
                mine, other = mine * a[7], other * b[7]
        return common / (mine if first else mine + other - common) if common else 0.0

    def kinds(labels: Objects, boxes: Objects) -> tuple[list[int], list[int]]:
        mine = []
        for each, row in zip(labels.names, labels.rows, strict=True):
            hard = row[1] > how.hidden or row[0] > how.cut or row[6] - row[4] <= how.height
            mine.append((1 if hard else 0) if each == name else 1 if each == alike else -1)
        theirs = [
            1 if row[6] - row[4] < how.height else 0 if each == name else -1
            for each, row in zip(boxes.names, boxes.rows, strict=True)
        ]
        return mine, theirs

    def pass_(labels: Objects, boxes: Objects, threshold: float | None) -> tuple[list[float], int]:
        mine, theirs = kinds(labels, boxes)
        scores = boxes.scores
        assert scores is not None
        used, right = [False] * len(boxes), []
        for i, row in enumerate(labels.rows):
            if mine[i] == -1:
                continue
            best, most, least_good = -1, -1.0, False
            for j, other in enumerate(boxes.rows):
                if theirs[j] == -1 or used[j] or (threshold is not None and scores[j] < threshold):
                    continue
                common = shared(row, other)
                if common <= limit:
                    continue
                if threshold is None:
                    if scores[j] > most:
                        best, most = j, scores[j]
                elif theirs[j] == 0 and (common > most or least_good):
                    best, most, least_good = j, common, False
                elif theirs[j] == 1 and best == -1:
                    best, least_good = j, True
            if best >= 0:
                used[best] = True
                if mine[i] == 0 and theirs[best] == 0:
                    right.append(float(scores[best]))
        wrong = 0
        for j, row in enumerate(boxes.rows):
            if theirs[j] == 0 and not used[j] and (threshold is None or scores[j] >= threshold):
                nobody = [other for each, other in zip(labels.names, labels.rows, strict=True) if each == "DontCare"]
                wrong += not (space == "picture" and any(shared(row, other, True) > limit for other in nobody))
        return right, wrong

    total = sum(kinds(labels, boxes)[0].count(0) for labels, boxes in zip(truth, found, strict=True))
    right = sorted((s for pair in zip(truth, found, strict=True) for s in pass_(*pair, None)[0]), reverse=True)
    thresholds, recall = [], 0.0
    for i, score in enumerate(right):
        left, after = (i + 1) / total, (i + 2) / total if i < len(right) - 1 else (i + 1) / total
        if after - recall < recall - left and i < len(right) - 1:
            continue
        thresholds.append(score)
        recall += 1 / 40
    precision = [0.0] * 41
    for step, threshold in enumerate(thresholds):
        made = [pass_(*pair, threshold) for pair in zip(truth, found, strict=True)]
        good, bad = sum(len(each[0]) for each in made), sum(each[1] for each in made)
        precision[step] = good / (good + bad) if good + bad else 0.0
    best = [max(precision[step:]) for step in range(41)]
    return sum(best[1:]) / 40, sum(best[::4]) / 11


@pytest.mark.parametrize("space", ["picture", "ground", "space"])
def test_precision_is_what_a_walk_gives(space: str) -> None:
    some = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = [scene(rng) for _ in range(8)]
        found = [near(rng, each) for each in truth]
        for name in CLASSES:
            for level in DIFFICULTIES:
                made = average_precision(truth, found, name, level, space)
                if made.labeled:
                    assert (made.r40, made.r11) == pytest.approx(walked(truth, found, name, level, space))
                    some += 0 < made.r40 < 1
                else:
                    assert np.isnan(made.r40)
    assert some > 20  # else nothing was compared


def test_laws_of_precision() -> None:
    rng = np.random.default_rng(1)
    truth = [scene(rng) for _ in range(90)]
    for each in truth:
        each.rows[:, 3:7], each.rows[:, :2] = (100, 100, 200, 200), 0
        each.rows[:, 10] += np.arange(len(each)) * 20.0  # nobody stands in another
    perfect = [Objects(each.names, each.rows, np.ones(len(each))) for each in truth]
    nothing = [Objects((), np.zeros((0, objects.COLUMNS)), np.zeros(0)) for _ in truth]
    for name in CLASSES:
        whole = average_precision(truth, perfect, name, "easy", "space")
        assert whole.r40 == whole.r11 == 1 and whole.labeled == sum(each.names.count(name) for each in truth) > 40
        assert average_precision(truth, nothing, name, "easy", "ground").r40 == 0
    called = [Objects(tuple("Car" if n == "Van" else n for n in each.names), each.rows, each.scores) for each in perfect]
    assert average_precision(truth, called, "Car", "easy", "space").r40 == 1  # a van is no false car
    called = [Objects(tuple("Car" if n == "Cyclist" else n for n in each.names), each.rows, each.scores) for each in perfect]
    assert average_precision(truth, called, "Car", "easy", "space").r40 < 1


def test_scans_drawn_again_are_as_if_they_were_there_so_often() -> None:
    rng = np.random.default_rng(2)
    truth = [scene(rng) for _ in range(12)]
    found = [near(rng, each) for each in truth]
    times = metrics.drawn(12)
    assert (times.sum(1) == 12).all() and (times == metrics.drawn(12)).all()  # of every model the same scans
    for name, level, space in (("Car", "moderate", "ground"), ("Pedestrian", "hard", "space"), ("Cyclist", "easy", "space")):
        made = metrics.drawn_precision(metrics.ranking(truth, found, name, level, space), times)
        for row in range(0, len(times), 60):
            again = [n for n, often in enumerate(times[row]) for _ in range(often)]
            one = average_precision([truth[n] for n in again], [found[n] for n in again], name, level, space)
            assert made[row] == pytest.approx(one.r40, nan_ok=True)
