"""Standalone scripts of failures: their parts, what they are held to, and real ones."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workplace import BACKENDS

from harness import __main__ as command_line
from harness.catalog import backends
from harness.cell.request import Job
from harness.contract import Cell, CellFailure, Device, Entry, Outcome, Stage, Unsupported
from harness.diagnosis import (
    script,
    script_config,
    script_run,
    script_text,
    simple_model,
    source_text,
)
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import ScriptRequest
from harness.diagnosis.upstream_report import upstream_report
from harness.toolkit.seeded_values import uniform
from harness.workers import reproduction
from harness.workers.ending import Ending
from harness.workers.settings import cores
from harness.workers.task_endings import settings_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(VALUES)
def test_a_literal_is_its_value_again(value: Any) -> None:
    assert eval(source_text.literal(value)) == value


def test_an_object_has_no_literal() -> None:
    with pytest.raises(ValueError, match="expected a value"):
        source_text.literal(object())


@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_a_wrapped_call_has_the_same_arguments(arguments: dict[str, Any]) -> None:
    text = source_text.call("given", {f"{name}_": value for name, value in arguments.items()})
    found = eval(text, {"given": lambda **kept: kept})
    assert found == {f"{name}_": value for name, value in arguments.items()}


def test_a_long_statement_is_broken_within_its_width() -> None:
    text = source_text.call("f", {f"name_{i}": [i] * 4 for i in range(40)})
    assert max(map(len, text.splitlines())) <= source_text.WIDTH


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3), np.int64),
        np.zeros((2, 3), np.bool_),
        np.full((2,), 7, np.int32),
        np.array([[0] * 4 + [1] * 12, [1] * 16]),
        np.array([[5, 3], [2, 1]], dtype=np.int32),
        np.zeros((0, 3), np.float32),
        uniform(0, "input/base/x", (2, 3)) * np.float32(3**0.5),
        uniform(4, "another", (2, 3)),
        np.arange(1000),
    ],
)
def test_an_array_of_a_script_is_the_array(array: Any) -> None:
    inputs = ScriptInputs(0, ("base",))
    text = inputs.table("inputs", {"x": array})

    def drawn(name: str, shape: tuple[int, ...], seed: int = 0) -> Any:
        return uniform(seed, name, shape)

    names: dict[str, Any] = {"np": np, "uniform": drawn, "stored": inputs.stored}
    exec(text, names)
    found = names["inputs"]["x"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_runs_of_numbers_are_products_and_others_are_not() -> None:
    assert source_text.numbers([0, 0, 0, 0, 7, 7, 1, 1, 1, 1]) == "[0] * 4 + [7, 7] + [1] * 4"
    assert source_text.numbers([5, 3]) == "[5, 3]"


TEMPLATES = sorted((BACKENDS).glob("[!_]*/repro.py.jinja"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_a_backends_template_is_one_and_runs_programs(path: Path) -> None:
    environment = script.environment(BACKENDS)
    name = f"{path.parent.name}/{path.name}"
    assert environment.get_template(name).render is not None
    assert script.template_has(BACKENDS, name, "program")
    assert script.template_has(BACKENDS, name, "operators")
    assert not script.template_has(BACKENDS, name, "nothing")
    spec = backends.find(path.parent.name)
    writes = "def exported(" in (spec.folder / "backend.py").read_text("utf-8")
    assert ("exported" in script.forms(spec)) == writes


def test_scripts_are_written_on_every_core_with_the_variables_of_the_backend() -> None:
    spec = replace(backends.find("mock"), environment={"SDK_HOME": "there"})
    made = settings_of(spec, 5.0)
    assert made.workers == cores()
    assert made.variables["SDK_HOME"] == "there"
    assert made.limits.seconds == 5.0
    assert settings_of(spec, 5.0, workers=1).workers == 1


def test_only_what_a_script_imports_is_installed() -> None:
    device = Device("a", "cpu", {"numpy": "", "pytest": "", "no-such-package": ""})
    assert re.fullmatch(
        r"uv pip install numpy==[\d.]+", script_text.install(device, [], "import numpy as np")
    )
    exported = "from transformers.exporters import OnnxExporter"
    assert "numpy" in script_text.install(device, [], exported), (
        "the runtime is not imported by name"
    )


def test_imports_are_merged_and_only_those_in_use() -> None:
    own = ["from a import One, Two", "from a import Three", "from operator import add"]
    found = script_text.imports("np.ones(Three, One); add(sys.argv)", own)
    wanted = ["import sys", "from operator import add", "", "import numpy as np"]
    assert found == [*wanted, "from a import One, Three"]


def test_a_graph_is_a_file_with_its_own_inputs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from backends._shared.onnx.runtime import exported_file

    x, y = (onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    inputs = {"dropped": np.ones(3), "x": np.ones(2)}
    made = exported_file(model.SerializeToString(), {"out": 0}, inputs, tmp_path / "a")
    assert made.path == tmp_path / "a.onnx"
    assert made.path.is_file()
    assert list(made.feed) == ["x"]
    assert made.feed["x"].dtype == np.float32


def test_a_report_names_the_files_beside_its_script(tmp_path: Path) -> None:
    for name in ("a.py", "a.md", "a.npz", "a.onnx", "ab.npz"):
        (tmp_path / name).touch()
    device = Device("a CPU", "cpu")
    text = '"""a on b: fail.\n\nmore\n"""\n\nprint(1)\n'
    found = upstream_report(
        tmp_path / "a.py", text, failure(Outcome.FAIL, "x is wrong"), device, {"numpy": "2.0"}
    )
    assert found.startswith("# a on b: fail.\n")
    assert "`a.npz`, `a.onnx`." in found
    assert "```python\nprint(1)\n```" in found
    assert "x is wrong" in found
    assert "- numpy 2.0" in found


def test_fields_that_change_nothing_are_dropped_at_every_depth() -> None:
    wanted = {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}

    def same(given: dict[str, Any]) -> bool:
        return given.get("a") == 1 and given.get("b", {}).get("d") == 3

    assert script_config.pruned(wanted, same) == {"a": 1, "b": {"d": 3}}


def test_the_weights_of_a_script_are_those_of_the_harness() -> None:
    torch: Any = pytest.importorskip("torch")
    from harness.diagnosis import script_weights
    from harness.models import weights

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(10, 4)
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
            self.norm = torch.nn.LayerNorm(4)
            self.scale = torch.nn.Parameter(torch.full((4,), 1e-6))
            self.up = torch.nn.ConvTranspose2d(4, 2, 3, groups=2)
            self.A_log = torch.nn.Parameter(torch.ones(4))
            self.batches = torch.nn.BatchNorm1d(4)
            self.empty = torch.nn.Parameter(torch.zeros(0))

    torch.manual_seed(0)
    wanted = Model()
    weights.fill(wanted, 0)
    wanted.batches.running_mean += 0.5
    torch.manual_seed(0)
    fresh = Model()
    held = {**dict(wanted.named_buffers()), **dict(wanted.named_parameters())}
    made = script_weights.seeding(fresh, held)
    assert set(made.stored) == {"batches.running_mean"}
    torch.manual_seed(0)
    names: dict[str, Any] = {"torch": torch, "np": np, "model": Model(), "stored": made.stored}
    for name in ("fnmatch", "hashlib", "math"):
        names[name] = __import__(name)
    exec(script_weights.UNIFORM + made.code, names)
    found = names["model"].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.state_dict().items())


def failure(
    outcome: Outcome, reason: str, cause: str = "", stage: Stage = Stage.RUN
) -> CellFailure:
    return CellFailure(stage, outcome, reason, cause or reason, "")


SEEN = {
    "numbers": (
        failure(Outcome.FAIL, "on input 'base': x: relative error 2", "CheckFailed: x"),
        "print('found: 1')\nraise SystemExit(1)",
    ),
    "exception": (
        failure(Outcome.FAIL, "ValueError: 3 is no size", "ValueError: <n> is no size @ torch:f"),
        "raise ValueError('4 is no size')",
    ),
    "way of a cache": (
        failure(Outcome.FAIL, "generate, beams: KeyError: 'x'", "CheckFailed: generate, beams"),
        "raise KeyError('x')",
    ),
    "export": (
        failure(
            Outcome.FAIL,
            "ExportFailed: dynamo: TypeError: cannot go on with it; torchscript: KeyError: 'x'",
            "ExportFailed: dynamo: TypeError: cannot go on with it",
        ),
        "raise TypeError('cannot go on with it')",
    ),
    "crash": (
        failure(Outcome.CRASH, "killed by SIGSEGV"),
        "print('expected: an end by itself, found: killed by SIGSEGV')\nraise SystemExit(1)",
    ),
    "hang": (
        failure(Outcome.TIMEOUT, "no end"),
        "print('expected: an end within 1 s, found: none')\nraise SystemExit(1)",
    ),
}


@pytest.mark.parametrize(("one", "other"), [*itertools.product(SEEN, SEEN)])
def test_a_script_shows_its_own_failure_and_no_other(one: str, other: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SEEN[other][1], "utf-8")
    assert script_run.run(script, 60).shows(SEEN[one][0]) == (one == other)


@pytest.mark.parametrize("text", ["print('found: 1')", "import sys; sys.exit(2)", "import no_such"])
def test_a_script_without_its_fault_shows_nothing(text: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(text, "utf-8")
    run = script_run.run(script, 60)
    assert not any(run.shows(seen) for seen, _ in SEEN.values())


def test_the_end_of_a_script_is_told_without_the_progress_of_a_library() -> None:
    loading = "Loading weights: 0%| | 0/64"
    assert script_run.ScriptRun(1, "found: 3\n", loading).summary == "exit status 1: found: 3"
    raised = f"{loading}\nTraceback (most recent call last):\n  File\nKeyError: 'x'\n"
    assert script_run.ScriptRun(1, "found: 3\n", raised).summary == "exit status 1: KeyError: 'x'"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("relative error 0.4, expected at most 3e-06", True),
        ("relative error 2.9e-05, expected at most 3e-06", False),
        ("relative error nan, expected at most 3e-06", False),
        ("relative error inf, expected at most 3e-06", False),
        ("nothing of the kind", False),
    ],
)
def test_an_error_near_its_limit_shows_nothing_on_other_weights(printed: str, shown: bool) -> None:
    ended = script_run.ScriptRun(1, f"found: 1\n{printed}\n", "")
    compared, _ = SEEN["numbers"]
    assert ended.shows(compared)
    assert ended.shows(compared, margin=10) == shown


@pytest.mark.parametrize(
    ("shown_by", "runs", "form"),
    [
        ({"simple", "plain"}, True, "simple"),
        ({"plain"}, True, "plain"),
        (set(), True, "plain"),
        ({"simple", "plain"}, False, "plain"),
    ],
)
def test_the_weights_of_the_cell_are_a_scripts_where_the_librarys_show_nothing(
    shown_by: set[str], runs: bool, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = failure(Outcome.FAIL, "on input 'base': x: relative error 2", "CheckFailed: x")

    def written(spec: Any, target: str, requests: Any, seconds: float) -> dict[str, Ending]:
        path = tmp_path / "script.py"
        path.write_text(requests["x"].form, "utf-8")
        told = {"script": str(path), "report": str(path.with_suffix(".md")), "lines": 1}
        return {"x": Ending(None, Stage.BUILD, 1.0, told)}

    def run(path: Path, seconds: float, variables: Any) -> script_run.ScriptRun:
        shows = path.read_text("utf-8") in shown_by
        error = "relative error 1, expected at most 1e-6"
        return script_run.ScriptRun(int(shows), f"found: 1\n{error}\n", "")

    monkeypatch.setattr(reproduction, "task_endings", written)
    monkeypatch.setattr(script_run, "run", run)
    spec = backends.find("torch-cpu")
    job = Job(Cell(Entry("bert", "encoder-only", "bert"), "torch-cpu"), 0, "tiny", BACKENDS)
    request = ScriptRequest(job, seen, tmp_path)
    (made,) = dict(reproduction.reproduce(spec, {"x": request}, 5.0, runs=runs)).values()
    assert made.script is not None
    assert made.script.read_text("utf-8") == form
    assert made.shown == (form in shown_by if runs else None)


def test_a_simple_script_that_shows_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = failure(Outcome.FAIL, "on input 'base': x: relative error 2", "CheckFailed: x")

    def written(spec: Any, target: str, requests: Any, seconds: float) -> dict[str, Ending]:
        if requests["x"].form != "simple":
            return {"x": Ending(None, Stage.BUILD, 1.0, {"refused": "no such input"})}
        path = tmp_path / "script.py"
        path.write_text("print('found: 1')", "utf-8")
        told = {"script": str(path), "report": str(path.with_suffix(".md")), "lines": 1}
        return {"x": Ending(None, Stage.BUILD, 1.0, told)}

    monkeypatch.setattr(reproduction, "task_endings", written)
    job = Job(Cell(Entry("bert", "encoder-only", "bert"), "torch-cpu"), 0, "tiny", BACKENDS)
    request = ScriptRequest(job, seen, tmp_path)
    spec = backends.find("torch-cpu")
    (made,) = dict(reproduction.reproduce(spec, {"x": request}, 60.0)).values()
    assert (made.script, made.said) == (None, "no such input")
    assert not [*tmp_path.iterdir()]


class Drawn:
    """A case whose reference gives these values in float64, and moved ones in float32."""

    def __init__(self, right: list[float], moved: float) -> None:
        self.answers = {"float64": np.array(right), "float32": np.array(right) * (1 + moved)}

    def with_weights(self, module: object) -> Drawn:
        return self

    def inputs(self, variant: str) -> dict[str, Any]:
        return {}

    def outputs(self, inputs: object, dtype: str, seed: int) -> dict[str, Any]:
        return {"x": self.answers[dtype]}


def test_other_weights_have_a_noise_floor_of_their_own() -> None:
    case: Any = Drawn([1.0, 2.0], 1e-5)
    assert simple_model.noise_floor(None, case) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("right", "moved"),
    [
        ([1.0, float("nan")], 1e-7),
        ([1.0, 2.0], float("nan")),
        ([0.0, 0.0], 0.0),
        ([1.0, 2.0], 0.5),
    ],
)
def test_a_model_that_is_not_sane_with_other_weights_is_refused(
    right: list[float], moved: float
) -> None:
    case: Any = Drawn(right, moved)
    with pytest.raises(Unsupported, match="no numbers to compare"):
        simple_model.noise_floor(None, case)


def test_images_and_seeded_values_are_random_ones_in_a_simple_script() -> None:
    inputs = ScriptInputs(0, ("base",), simple=True)
    given = {
        "pixels": np.arange(300, dtype=np.uint8),
        "x": uniform(0, "input/base/x", (2, 3)) * np.float32(3**0.5),
    }
    names: dict[str, Any] = {"np": np}
    exec(inputs.table("inputs", given), names)
    assert not inputs.stored
    assert {name: (a.shape, a.dtype) for name, a in names["inputs"].items()} == {
        name: (a.shape, a.dtype) for name, a in given.items()
    }


def test_a_script_runs_without_this_project(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import harness", "utf-8")
    assert "No module named 'harness'" in script_run.run(script, 60).errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bert", "--backend", "mock"], "repro.py.jinja"),
        (["bert:nothing", "--backend", "torch-cpu"], "expected a head of bert"),
        (["encoder-only", "--backend", "torch-cpu"], "expected an entry of the model lists"),
        (["bert", "--backend", "torch-cpi"], "Did you mean `torch-cpu`"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["repro", *words]) == 2
    assert said in capsys.readouterr().err


def repro(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", "repro", *words, "--backend", "torch-cpu"]
    return subprocess.run(
        [*command, "--output", str(folder)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        ("aimv2", 54),
        ("pvt:image-classification", 50),
        ("openai_gpt:text-generation", 65),
        ("luke:fill-mask", 40),
        ("mimi_plain", 50),
        ("timm_backbone", 40),
    ],
)
def test_a_real_failure_is_shown(cell: str, lines: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    done = repro(tmp_path, cell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shows the same failure" in done.stdout
    (script,) = tmp_path.glob("*.py")
    text = script.read_text("utf-8")
    assert text.count("\n") <= lines
    assert not re.search(r"\b(harness|backends)\b", text)
    report = script.with_suffix(".md").read_text("utf-8")
    assert "## Repro" in report
    assert "uv pip install torch==" in text


def test_a_cell_that_passes_has_nothing_to_show(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    done = repro(tmp_path, "bert")
    assert done.returncode == 2
    assert "found that it passes" in done.stderr
