"""What every verb has in common: help, examples, exit codes, and that help loads nothing heavy."""

from __future__ import annotations

import io
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich import box
from rich.table import Table

import handmade
import layout
from command_line import environment, everyframe, parsers, problem
from everyframe import errors
from everyframe.api.given import source
from everyframe.benchmarking import report
from everyframe.cli import main
from everyframe.cli.show.console import Out

VERBS = list(main.VERBS)
HEAVY = ("numpy", "onnx", "onnxruntime", "av", "torch", "pydantic", "PIL", "everyframe.modelfile", "everyframe.runtime")

#: verbs that print no results of their own
WITHOUT_JSON = ("demo",)

#: for each verb, arguments that name something that is not there; the verbs without a row take no argument
NOT_THERE = {
    "predict": ("missing.onnx", "missing.mp4"),
    "serve": ("missing.onnx", "--port", "0"),
    "stream": ("missing.onnx", "-o", "step.onnx"),
    "info": ("missing.onnx",),
    "compile": ("missing.onnx", "-o", "step.so"),
    "check": ("missing.onnx", "--target", "native"),
    "quantize": ("missing.onnx", "--calibrate", "missing.mp4"),
    "split": ("missing.onnx", "-o", "parts"),
    "bundle": ("missing.onnx", "--target", "rdk-s100", "--calibrate", "missing.mp4", "-o", "s100"),
    "models": ("missing",),
    "export": ("missing",),
    "import": ("missing.onnx", "--mapping", "missing.toml", "-o", "out.onnx"),
    "render": ("missing",),
    "train": ("missing.toml",),
    "prune": ("missing.toml",),
    "search": ("missing.toml",),
    "benchmark": ("missing.onnx",),
}


def test_help_is_light(figure: Callable[[str], None]) -> None:
    """Time is printed, not asserted: what makes help slow is what it imports, and that is the same on every machine."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = everyframe("--help", python=["-X", "importtime"])
        times.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "typer" in imported  # the report was read
    assert not imported & set(HEAVY)
    figure(f"everyframe --help: {statistics.median(times):.2f} s (median of 3, wanted below 0.5 s)")


@pytest.mark.parametrize("arguments", [["--version"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_verbs_help_is_light(arguments: list[str]) -> None:
    heavy = [name for name in HEAVY if name != "pydantic"]  # typer itself may use it to read a verb's options
    code = (
        "import sys; from everyframe.cli.main import run\n"
        "try: run(sys.argv[1:])\n"
        f"except SystemExit: print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr.strip() == "[]", done.stderr


@pytest.mark.parametrize("verb", VERBS)
class TestEveryVerb:
    def test_help_says_everything(self, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main.run([verb, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert f"Example: everyframe {verb}" in text
        assert "Usage:" in text
        silent = [p.name for p in parsers()[verb].params if not getattr(p, "help", None)]
        assert not silent, "without a help text"

    def test_the_example_is_accepted(self, verb: str) -> None:
        example = re.search(r"Example: (everyframe .*?)(?:\n\s*\n|$)", parsers()[verb].help, re.DOTALL)
        assert example
        assert problem(" ".join(example[1].split())) is None

    def test_has_json(self, verb: str) -> None:
        names = {name for parameter in parsers()[verb].params for name in getattr(parameter, "opts", ())}
        assert ("--json" in names) != (verb in WITHOUT_JSON)

    def test_an_unknown_option_is_refused(self, verb: str) -> None:
        assert problem(f"everyframe {verb} --no-such-option")


@pytest.mark.parametrize("verb", NOT_THERE)
def test_what_is_not_there_is_an_error_of_ours(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb in ("export", "train", "prune", "search"):
        pytest.importorskip("torch")  # what is missing first, in a base install
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main.run([verb, *NOT_THERE[verb]])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert err.startswith("error: "), err
    assert "missing" in err, "names what was asked for"
    assert re.search(r"^  (try|expected): ", err, re.MULTILINE), "says what to do next"
    assert out == ""
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


@pytest.mark.parametrize("verb", NOT_THERE)
def test_a_name_that_no_system_takes_is_said(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is too long: even to ask whether the file is there is an error."""
    if verb in ("export", "train", "prune"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main.run([verb, *(word.replace("missing", "missing" * 50) for word in NOT_THERE[verb])])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "") and err.startswith("error: ") and "missing" * 50 in err, err
    assert list(tmp_path.iterdir()) == []


#: `import` reads networks of others, for which it wants a mapping first
ASKED_FIRST = [verb for verb, (first, *_) in NOT_THERE.items() if first == "missing.onnx" and verb != "import"]
TAKE_A_MODEL = [*ASKED_FIRST, "teach", "evaluate"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x3d_s", "`everyframe export x3d_s -o x3d_s.onnx`"),
        ("x3d_m.onnx", "`everyframe export x3d_m -o x3d_m.onnx`"),
        ("x3d-s", "did you mean x3d_s?"),
        ("bultin", "did you mean builtin?"),
        ("stp.onnx", "did you mean step.onnx?"),
    ],
)
def test_a_name_where_a_file_is_wanted(name: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("step.onnx").touch()
    with pytest.raises(errors.ModelError) as raised:
        source(name)
    assert wanted in (raised.value.hint or "")


@pytest.mark.parametrize("verb", TAKE_A_MODEL)
def test_every_verb_that_takes_a_model_knows_the_zoo(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    there = {handmade.write_video(tmp_path / "missing.mp4", 3), tmp_path / "missing.toml"}
    Path("missing.toml").touch()
    others = {"teach": ("--examples", ".", "-o", "out.onnx"), "evaluate": ("--data", ".")}
    with pytest.raises(SystemExit) as ended:
        main.run([verb, "x3d_s", *(others.get(verb) or NOT_THERE[verb][1:])])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "everyframe export x3d_s" in said, said
    assert set(tmp_path.iterdir()) == there


def test_every_verb_with_arguments_is_asked_for_something_missing() -> None:
    required = {v for v in VERBS if any(p.required for p in parsers()[v].params)}
    assert required <= set(NOT_THERE) | {"evaluate"}


class TestExitCodes:
    """Verbs that end in each way, run by the real entry point in a process of their own."""

    CODE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for what runs in the background
from everyframe import errors
from everyframe.api.given import source
from everyframe.benchmarking import report
from everyframe.benchmarking import report
from everyframe.cli import main
def interrupted(): raise KeyboardInterrupt
def loading():
    import interrupting
    time.sleep(60)
def refused(): raise errors.SourceError("It is closed.", where="door", hint="open it")
def broken(): raise ValueError("a bug")
def closed(): raise BrokenPipeError
for verb in (interrupted, loading, refused, broken, closed):
    main.app.command(name=verb.__name__)(verb)
main.run()
"""

    def run(self, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *options, "-c", self.CODE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)

    @pytest.mark.parametrize("options", [(), ("-O",)], ids=["python", "python -O"])
    def test_an_error_of_ours(self, options: tuple[str, ...]) -> None:
        done = self.run("refused", options=options)
        assert done.returncode == 2
        assert done.stderr == "error: It is closed.\n  where:    door\n  try:      open it\n"
        assert done.stdout == ""

    @pytest.mark.parametrize("verb", ["interrupted", "loading"])
    def test_ctrl_c(self, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where a library that is being loaded would make another error of it."""
        (tmp_path / "interrupting.py").write_text(
            "import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt: raise ImportError\n"
        )
        monkeypatch.chdir(tmp_path)
        done = self.run(verb)
        assert (done.returncode, done.stderr) == (130, "")

    @pytest.mark.parametrize("ignored", [False, True], ids=["", "where it is ignored"])
    def test_ctrl_c_while_the_command_itself_is_loaded(
        self, ignored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(3)\n")
        monkeypatch.chdir(tmp_path)
        heard = "SIG_IGN" if ignored else "default_int_handler"  # as by nohup; as in a terminal, however tests were started
        code = f"import signal; signal.signal(signal.SIGINT, signal.{heard}); from everyframe.cli.start import run; run()"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert (done.returncode, done.stderr) == (3 if ignored else 130, "")

    def test_ctrl_c_while_the_verbs_are_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(main, "register", interrupted)
        with pytest.raises(SystemExit) as ended:
            main.run(["--version"])
        assert ended.value.code == 130

    def test_a_bug_keeps_its_traceback(self) -> None:
        done = self.run("broken")
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "a bug" in done.stderr

    def test_a_reader_that_went_away(self) -> None:
        done = self.run("closed")
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("arguments", [["nonsense"], ["predict"], ["info", "--nonsense"], []], ids=" ".join)
    def test_wrong_usage(self, arguments: list[str]) -> None:
        done = everyframe(*arguments)
        assert done.returncode == 2
        assert "Usage:" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_works_without_asserts(tmp_path: Path) -> None:
    """`python -O` removes asserts: nothing a user can do wrong may depend on them."""
    (tmp_path / "text.onnx").write_text("not a model")
    done = everyframe("info", "text.onnx", cwd=tmp_path, python=["-O"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


#: verbs that call no function of `api` for what they do, and why
ON_PROGRAM = {
    "predict": "predictions are shown as they come",
    "demo": "predictions are shown as they come",
    "watch": "events and states are shown as they come",
}


def test_verbs_call_the_python_face() -> None:
    """So that both do the same: a verb reads arguments, calls, shows."""
    callers = {found.module for found in layout.imports() if not found.typing and found.target.startswith("everyframe.api")}
    wanted = {f"everyframe.cli.verbs.{module}" for verb, module in main.VERBS.items() if verb not in ON_PROGRAM}
    assert {module for module in callers if module.startswith("everyframe.cli.verbs.")} == wanted


def test_errors_survive_a_process_border() -> None:
    import pickle

    for name in errors.__all__:
        error = getattr(errors, name)("What.", where="w", expected="e", got="g", hint="h")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


@pytest.mark.parametrize("width", [20, 40, 80, 140])
def test_a_narrow_terminal_cuts_no_number_off(width: int) -> None:
    """A table where there is room, else a list of the same."""
    rows = [[f"layer.{i}", "a few words of what it is", f"{10 ** (i + 3):,}", f"{i}.12345 k"] for i in range(9)]
    table = Table("layer", "what", box=box.SIMPLE_HEAD, title="layers")
    for name in ("MACs", "state"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    out = Out(file=io.StringIO(), width=width)
    out.print(table)
    said = out.file.getvalue()
    assert "layers" in said and "…" not in said and max(map(len, said.splitlines())) <= width
    for layer, _, macs, state in rows:
        assert layer in said and macs in said and state in said
    assert ("MACs 1,000" in said) == (width < 80)


def test_nor_off_a_benchmark() -> None:
    columns = [f"column {i}" for i in range(9)]
    out = Out(file=io.StringIO(), width=40)
    report.Table("model.onnx, step network", columns, [[f"{i + 1:,}.5" for i in range(1000, 1009)]], ["a note"]).show(out)
    said = out.file.getvalue()
    assert max(map(len, said.splitlines())) <= 40 and all(f"column {i} {i + 1001:,}.5" in said for i in range(1, 9))
