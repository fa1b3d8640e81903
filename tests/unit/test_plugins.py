"""What other packages add by entry points, and what a broken one does: nothing, until its name is asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import everyframe
import handmade
from clips import clip_net
from command_line import environment
from everyframe import models, plugins
from everyframe.cli.main import run
from everyframe.conversion import rules
from everyframe.conversion.step import convert
from everyframe.devices.profile import load_profile, resolve, targets
from everyframe.errors import EngineError, ModelError, PluginError, UnsupportedOperator, UsageError
from everyframe.modelfile.file import load
from everyframe.runtime import engine as engines
from everyframe.runtime import open as open_program
from everyframe.version import RenamedWarning

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
BOARD = EXAMPLE / "src" / "everyframe_example" / "board.toml"


class Installed:
    """Packages as pip leaves them, in a folder on sys.path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, package: str, points: dict[str, dict[str, str]], **files: str) -> None:
        info = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        text = [f"[everyframe.{kind}]\n" + "".join(f"{k} = {v}\n" for k, v in rows.items()) for kind, rows in points.items()]
        (info / "entry_points.txt").write_text("\n".join(text))
        for name, code in files.items():
            (self.folder / f"{name}.py").write_text(code)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """What the example's modules are called is forgotten afterwards, with the rules that came from there."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(rules, "_RULES", dict(rules.load()))
    yield Installed(folder)  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if name.startswith(("everyframe_example", "other")):
            del sys.modules[name]


@pytest.fixture
def example(installed: Installed) -> Installed:
    import tomllib

    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    shutil.copytree(EXAMPLE / "src" / "everyframe_example", installed.folder / "everyframe_example")
    installed.add("everyframe-example", {group.removeprefix("everyframe."): rows for group, rows in points.items()})
    return installed


class TestTheExample:
    def test_engine(self, example: Installed, tmp_path: Path) -> None:
        step = handmade.brightness_step(tmp_path / "step.onnx")
        assert engines.names() == (*engines.ENGINES, "plain")
        video = handmade.write_video(tmp_path / "video.mp4", 30)

        def scores(engine: str) -> list[float]:
            with open_program(step, engine=engine) as program:
                assert program.engine == engine
                return [prediction.top[0].score for prediction in program.predict(video)]

        assert scores("plain") == pytest.approx(scores("ort"), abs=1e-6)

    def test_rule(self, example: Installed, tmp_path: Path) -> None:
        """The conversion compares both networks by itself before it says that they agree."""
        from everyframe.conversion import stream

        clip = clip_net(tmp_path / "clip.onnx", extra="Asinh")
        stream(clip, tmp_path / "step.onnx")
        assert "Asinh" in {node.op_type for node in load(tmp_path / "step.onnx").graph.node}

    def test_a_rule_that_is_in_use_hides_no_other(self, example: Installed, tmp_path: Path) -> None:
        """Also one that registers itself while it is imported, as ours do."""
        code = (
            "from everyframe.conversion.rules import register\n"
            "from everyframe_example.rule import Asinh\n"
            "@register('Atan')\nclass Atan(Asinh): ..."
        )
        example.add("other-package", {"rules": {"Atan": "other:Atan"}}, other=code)
        for operator in ("Asinh", "Atan", "Atan"):
            convert(load(clip_net(tmp_path / "clip.onnx", extra=operator)))
        with pytest.raises(UnsupportedOperator, match="no streaming rule for operator Atanh"):
            convert(load(clip_net(tmp_path / "clip.onnx", extra="Atanh")))

    def test_a_built_in_rule_is_taken(self, installed: Installed, tmp_path: Path) -> None:
        installed.add("other-package", {"rules": {"Conv": "other:it"}}, other="it = 7")
        with pytest.raises(PluginError, match="everyframe itself"):
            convert(load(clip_net(tmp_path / "clip.onnx", extra="Atanh")))

    def test_without_it_the_operator_is_unknown(self, installed: Installed, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedOperator, match="no streaming rule for operator Asinh"):
            convert(load(clip_net(tmp_path / "clip.onnx", extra="Asinh")))

    def test_device(self, example: Installed) -> None:
        assert "example-board" in targets() and "example-board" in resolve(["all"])
        assert load_profile("example-board") == load_profile(BOARD)

    def test_network(self, example: Installed) -> None:
        torch = pytest.importorskip("torch")
        assert "example_net" in models.list()
        assert models.describe("example_net").source == "everyframe-example"
        assert "torch" in sys.modules and "everyframe_example.network" not in sys.modules  # described, not built
        net = models.create("example_net", num_classes=3)
        assert net(torch.zeros(2, 3, 8, 32, 32)).shape == (2, 3)

    def test_the_zoo_lists_it(self, example: Installed, capsys: pytest.CaptureFixture[str]) -> None:
        run_verb("models", "--json")
        assert "example_net" in [row["name"] for row in json.loads(capsys.readouterr().out)]


def run_verb(*arguments: str) -> int:
    try:
        run(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


BROKEN = {
    "engines": lambda: engines.load("odd", None),  # type: ignore[arg-type]
    "rules": lambda: rules._plugged("odd"),
    "devices": lambda: load_profile("odd"),
    "models": lambda: models.describe("odd"),
}
LISTS = {"engines": engines.names, "devices": targets, "models": models.list}


class TestBroken:
    @pytest.mark.parametrize("kind", BROKEN)
    @pytest.mark.parametrize("code", ["raise ValueError('no such board')", "import no_such_module_at_all", "", "it = 7"])
    def test_it_names_the_package(self, kind: str, code: str, installed: Installed) -> None:
        installed.add("other-package", {kind: {"odd": "other:it"}}, other=code)
        with pytest.raises(PluginError) as caught:
            BROKEN[kind]()
        said = str(caught.value)
        assert f"package other-package 1.0, entry point everyframe.{kind}: odd = other:it" in said
        assert "pip uninstall other-package" in said

    @pytest.mark.parametrize("text", ["name = 7", "name = 'odd'\nweight = 2", "=", None])
    def test_a_profile_that_is_none(self, text: str | None, installed: Installed) -> None:
        path = installed.folder / "odd.toml"
        if text is not None:
            path.write_text(text)
        installed.add("other-package", {"devices": {"odd": "other:it"}}, other=f"it = {str(path)!r}")
        with pytest.raises(PluginError, match="package other-package") as caught:
            load_profile("odd")
        assert "odd.toml" in str(caught.value)

    def test_the_built_in_ones_stay(self, installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        points = {kind: {"odd": "other:it"} for kind in BROKEN}
        installed.add("other-package", points, other="raise ValueError('no such board')")
        assert all("odd" in names() for names in LISTS.values())  # a list imports nothing
        assert "other" not in sys.modules
        convert(load(clip_net(tmp_path / "clip.onnx")))
        assert load_profile("ncnn").name == "ncnn" and models.describe("x3d_s").name == "x3d_s"
        assert run_verb("models", "--json") == 0
        captured = capsys.readouterr()
        assert "x3d_s" in [row["name"] for row in json.loads(captured.out)]
        assert "warning: A plugin cannot be loaded" in captured.err and "other-package" in captured.err
        found = everyframe.list_models()
        assert len(found) > 10 and ["other-package" in str(error) for error in found.broken] == [True]
        with pytest.raises(PluginError, match="other-package"):
            everyframe.list_models("od*")

    def test_built_in_names_need_no_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def search(**_: str) -> None:
            raise RuntimeError("nobody asked for a plugin")

        monkeypatch.setattr(plugins, "entry_points", search)
        assert resolve(["ncnn", str(BOARD)]) and load_profile("ncnn") and models.describe("x3d_s")
        assert rules.of.__module__ and engines._own("ort")


class TestNames:
    @pytest.mark.parametrize(
        ("kind", "name"), [("engines", "ort"), ("engines", "auto"), ("devices", "ncnn"), ("devices", "all"), ("models", "x3d_s"),
                           ("models", "motionnet_0.7x")],
    )  # fmt: skip
    def test_a_built_in_name_is_taken(self, kind: str, name: str, installed: Installed) -> None:
        installed.add("other-package", {kind: {name: "other:it"}}, other="it = 7")
        with pytest.raises(PluginError, match="have the same name") as caught:
            LISTS[kind]()
        assert "other-package" in str(caught.value) and "everyframe itself" in str(caught.value)

    @pytest.mark.parametrize("kind", BROKEN)
    def test_two_packages_with_one_name(self, kind: str, installed: Installed) -> None:
        for package in ("first-package", "second-package"):
            installed.add(package, {kind: {"odd": "other:it"}}, other="it = 7")
        with pytest.raises(PluginError, match="same name") as caught:
            BROKEN[kind]()
        assert "first-package" in str(caught.value) and "second-package" in str(caught.value)

    def test_unknown_names_list_what_there_is(self, example: Installed) -> None:
        with pytest.raises(EngineError, match="plain"):
            engines.load("odd", None)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="example-board"):
            load_profile("odd")
        with pytest.raises(UsageError, match="no network of this name"):
            models.describe("odd")


class TestProfileFile:
    def test_check_takes_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(tmp_path)
        handmade.brightness_step(tmp_path / "step.onnx")
        board = (tmp_path / "my-board.toml").write_text(BOARD.read_text()) and "./my-board.toml"
        assert run_verb("check", "step.onnx", "--target", board, "--target", "onnxruntime", "--json") == 1
        mine, other = json.loads(capsys.readouterr().out)["targets"]
        assert mine["target"] == board and other["target"] == "onnxruntime" and not other["findings"]
        assert "Sub" in {finding["op"] for finding in mine["findings"]}
        assert run_verb("check", "step.onnx", "--target", board) == 1
        assert "Example board" in capsys.readouterr().out

    def test_it_is_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "board.toml"
        path.write_text(BOARD.read_text())
        assert load_profile(path).title == "Example board"
        path.write_text(BOARD.read_text().replace("Example board", "Another"))
        assert load_profile(str(path)).title == "Another"

    def test_what_is_wrong_with_it(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            load_profile(tmp_path / "missing.toml")
        path = tmp_path / "board.toml"
        path.write_text(BOARD.read_text().replace("ranks", "rank"))
        with pytest.raises(ModelError, match=r"board\.toml"):
            load_profile(path)
        with pytest.raises(UsageError, match="no target"):
            resolve(["./board"])


def test_the_former_name_of_a_session_warns_and_works() -> None:
    with pytest.warns(RenamedWarning, match="now called Session"):
        assert engines.Network is engines.Session
    with pytest.raises(AttributeError, match="Nothing"):
        engines.Nothing  # noqa: B018


def test_pip_installs_the_example(tmp_path: Path) -> None:
    """As a user would, but for the index: what pip writes is what is found."""
    shutil.copytree(EXAMPLE, tmp_path / "plugin", ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path / "site"
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target", str(site)]
    pip = [sys.executable, "-m", "pip", "install", "-q", *flags, str(tmp_path / "plugin")]
    done = subprocess.run(pip, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot build here: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    code = (
        "from everyframe import models; from everyframe.conversion import rules; from everyframe.devices import load_profile\n"
        "from everyframe.runtime import engine\n"
        "print(models.describe('example_net').name, load_profile('example-board').name, rules._plugged('Asinh').__name__,\n"
        "      engine._plugged('plain').__name__)"
    )
    path = f"{site}:{ROOT / 'src'}"
    command, env = [sys.executable, "-c", code], environment(PYTHONPATH=path)
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["example_net", "example-board", "Asinh", "load"], ran.stderr
