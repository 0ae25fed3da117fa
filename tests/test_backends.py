"""Backends are found, described and opened by their folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends._shared.export_failed import innermost_cause
from harness.catalog import backend_toml, backends
from harness.catalog.backend_spec import Hardware
from harness.contract import HarnessError, Unavailable

FAKES = Path(__file__).resolve().parent / "fakes"
ROOT = FAKES.parent.parent


def folder(tmp_path: Path, toml: str, name: str = "some_gpu") -> Path:
    path = tmp_path / "backends" / name
    path.mkdir(parents=True)
    (path / "backend.toml").write_text(toml)
    return path


def test_folders_with_a_backend_toml_are_backends() -> None:
    assert set(backends.discover(FAKES)) == {
        "broken", "faulty", "good", "import-error", "loud", "no-gpu", "planted", "unavailable",
        "vendor", "wavering",
    }  # fmt: skip


def test_the_repositorys_own_backends_are_in_order() -> None:
    found = backends.discover()
    assert {"torch-cpu", "mock"} <= set(found)
    assert all(spec.title and spec.lock.parent == spec.folder for spec in found.values())
    assert found["torch-cpu"].snapshot


@pytest.mark.parametrize("name", ["torch-cpu", "torch_cpu", " Torch-CPU "])
def test_spellings_of_a_name(name: str) -> None:
    assert backends.find(name).name == "torch-cpu"


def test_an_unknown_name_has_close_ones() -> None:
    with pytest.raises(HarnessError, match=r"found 'torch_cpi'.*Did you mean `torch-cpu`"):
        backends.find("torch_cpi")
    with pytest.raises(HarnessError, match="expected a folder of backends"):
        backends.find("x", ROOT / "nowhere")


def test_no_backends_at_all(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no folder with a backend\.toml"):
        backends.find("x", tmp_path)


def test_everything_that_a_toml_can_say(tmp_path: Path) -> None:
    text = """
        title = "Some GPU"
        torch_backend = "cu130"
        python = ["3.11"]
        platforms = ["linux"]
        start_method = "spawn"
        worker = "shared"
        preload = []
        preload_for.fast = ["compiler"]
        snapshot = true
        faults = ["crash"]
        models = "vision,bert"
        interpose = "faster.c"
        runs_on = ["self-hosted", "gpu"]
        [hardware]
        paths = ["/dev/gpu*"]
        found = "a GPU"
        fix = "buy one"
        kinds = ["nvidia-gpu"]
        [environment]
        GPU_DEBUG = "1"
    """
    made = folder(tmp_path, text)
    (made / "faster.c").touch()
    spec = backend_toml.read(made)
    assert spec.name == "some-gpu"
    assert spec.interpose == "faster.c"
    assert (spec.torch_backend, spec.python, spec.preload) == ("cu130", ("3.11",), ())
    assert spec.preload_for == {"fast": ("compiler",)}
    assert (spec.start_method, spec.snapshot, spec.faults) == ("spawn", True, ("crash",))
    assert (spec.worker, spec.environment) == ("shared", {"GPU_DEBUG": "1"})
    assert spec.hardware == Hardware(("/dev/gpu*",), "", "a GPU", "buy one", ("nvidia-gpu",))
    assert spec.models == "vision,bert"
    assert spec.expectations.name == "expectations.toml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", r"expected TOML, found: .* Fix: correct that line"),
        ("", r'expected `title`, found none. Fix: add `title = "..."`'),
        ('title = "x"\npreloads = ["a"]', r"found the key `preloads`. Did you mean `preload`"),
        ('title = "x"\npreload = "torch"', r"expected preload to be a list of strings, found 'tor"),
        ('title = "x"\npreload = [1]', r"expected preload to be a list of strings, found \[1\]"),
        ('title = "x"\npreload_for.a = 1', "expected preload_for.a to be a list of strings"),
        ('title = "x"\nsnapshot = "yes"', "expected snapshot to be true or false, found 'yes'"),
        ('title = "x"\nplatforms = ["beos"]', "one of linux, darwin, win32, found 'beos'"),
        ('title = "x"\nstart_method = "fork"', "one of forkserver, spawn, found 'fork'"),
        ('title = "x"\nworker = "many"', "expected worker to be one of cell, shared, found 'many'"),
        ('title = "x"\ninterpose = "no.c"', "expected interpose to name a C file"),
        ('title = "x"\nenvironment = 1', "expected environment to be a table"),
        ('title = "x"\n[environment]\nA = 1', "expected environment.A to be a string, found 1"),
        ('title = "x"\nhardware = 1', "expected hardware to be a table"),
        ('title = "x"\n[hardware]\npath = "/dev/x"', "found the key `hardware.path`"),
    ],
)
def test_a_wrong_toml_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        backend_toml.read(folder(tmp_path, text))


def test_hardware_is_a_hint_that_needs_no_sdk(tmp_path: Path) -> None:
    (tmp_path / "gpu0").touch()
    assert Hardware(paths=(str(tmp_path / "gpu*"),)).present()
    assert not Hardware(paths=(str(tmp_path / "npu*"),)).present()
    assert not Hardware(platform="beos-ppc").present()


def test_missing_hardware_has_reason_and_fix(tmp_path: Path) -> None:
    text = 'title = "T"\n[hardware]\npaths = ["/dev/no-such"]\nfound = "a T1"\nfix = "plug it in"'
    absence = backend_toml.read(folder(tmp_path, text)).missing_hardware()
    assert isinstance(absence, Unavailable)
    assert "needs a T1" in absence.reason
    assert absence.fix == "plug it in"
    other = "win32" if sys.platform != "win32" else "linux"
    elsewhere = backend_toml.read(
        folder(tmp_path, f'title = "T"\nplatforms = ["{other}"]', "other")
    )
    absence = elsewhere.missing_hardware()
    assert absence is not None
    assert f"runs on {other}" in absence.reason
    assert backends.find("good", FAKES).missing_hardware() is None


LOAD = """
import sys
from pathlib import Path
from harness.catalog import backends
from harness.contract import HarnessError
try:
    backend = backends.load(backends.find(sys.argv[1], Path(sys.argv[2])), {})
    print([precision.name for precision in backend.precisions])
except HarnessError as error:
    print(error)
"""


def load(name: str, root: Path) -> str:
    """Open a backend in a process of its own: it stays imported there."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, name, str(root)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_backend_is_opened_with_its_neighbours() -> None:
    assert load("faulty", FAKES) == "['default', 'f16']\n"


def test_a_missing_package_says_how_to_install_it() -> None:
    message = load("import_error", FAKES)
    assert "expected the package fake_sdk_that_nobody_has, found none" in message
    assert "Fix: `nox -s lock -- import-error`, which writes tests/fakes/import_error/" in message


def test_a_backend_without_pins_names_their_compilation(tmp_path: Path) -> None:
    made = folder(tmp_path, 'title = "x"')
    (made / "backend.py").write_text("import sdk_that_nobody_has\n")
    message = load("some-gpu", made.parent)
    assert "expected the package sdk_that_nobody_has, found none" in message
    assert "Fix: `nox -s lock -- some-gpu`, which writes " in message
    (made / "requirements.txt").write_text("numpy==2.4.6\n")
    message = load("some-gpu", made.parent)
    assert "if the pins lack it, add it to " in message
    assert "then `nox -s lock -- some-gpu`" in message
    (made / "requirements.txt").write_text("sdk-that-nobody-has==1.0\n")
    assert "lack" not in load("some-gpu", made.parent)


def test_our_own_backends_are_installed_by_their_session() -> None:
    assert backends.find("mock").install == (
        "`nox -s mock`, or `python -m pip install -r backends/mock/requirements.txt`"
    )


def test_a_folder_without_the_class(tmp_path: Path) -> None:
    path = folder(tmp_path, 'title = "x"')
    assert "found no such file" in load("some-gpu", path.parent)
    (path / "backend.py").write_text("")
    assert "expected a class `Backend(options)`, found none" in load("some-gpu", path.parent)


def test_a_failed_conversion_names_the_operators_without_one() -> None:
    """OpenVINO says them at the end, behind where it noticed."""
    said = (
        "Check 'false' failed at src/frontends/unconverted_ops_report.cpp:151:\n"
        "FrontEnd API failed with OpConversionFailure:\nModel wasn't fully converted.\n"
        "Summary:\n-- No conversion rule found for operations: aten::lgamma\n"
    )
    wrapped = RuntimeError("export failed")
    wrapped.__cause__ = ValueError(said)
    found = innermost_cause(wrapped)
    assert found == "ValueError: No conversion rule found for operations: aten::lgamma"
    assert innermost_cause(ValueError("[CPU] Reshape\nat a.cpp")) == "ValueError: [CPU] Reshape"
