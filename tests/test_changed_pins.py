"""`--with`: an environment with another version of a package, its results apart, the comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import nox.command
import pytest
from nox.sessions import _SessionQuit
from test_noxfile import FakeSession
from workplace import Workplace

from harness.catalog import backends
from harness.contract import Cell, CellResult, HarnessError
from harness.environments import pins
from harness.nox_sessions import changed_pins, environment
from harness.nox_sessions.backend_folder import BackendFolder, read_backend
from harness.session.header import header
from harness.session.options import Options
from harness.session.provenance import lock_of
from harness.session.run import Run

WITH = ("transformers==5.22.0",)
COMMAND = ["python", "-m", "pytest", "--backend", "some-cpu"]


class InstallingSession(FakeSession):
    """A session that records what it would run to make an environment."""

    def __init__(self, env_dir: Path, *posargs: str, venv_backend: str = "uv") -> None:
        super().__init__(env_dir, *posargs, venv_backend=venv_backend)
        self.made: list[tuple[str, ...]] = []
        self.read = ""

    def run_install(self, *command: str, **options: Any) -> None:
        self.made.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        if "-r" in command:
            self.read = Path(command[command.index("-r") + 1]).read_text(encoding="utf-8")

    def log(self, message: str) -> None:
        self.commands.append(("log", message))


@pytest.fixture
def backend(tmp_path: Path) -> BackendFolder:
    folder = tmp_path / "backends" / "some_cpu"
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text('title = "A"', encoding="utf-8")
    (folder / "requirements.in").write_text("transformers==5.23.0\nnumpy\n", encoding="utf-8")
    (folder / "requirements.txt").write_text(
        "transformers==5.23.0\nnumpy==2.4.6\n", encoding="utf-8"
    )
    return read_backend(folder / "backend.toml")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The texts that uv is given: the requirements, and the pins that it may keep."""
    given: list[tuple[str, str]] = []

    def compile_pins(
        run: object, backend: BackendFolder, source: Path, old: str, **rest: Any
    ) -> str:
        given.append((source.read_text(encoding="utf-8"), old))
        return f"{WITH[0]}\nnumpy==2.4.6\n"

    monkeypatch.setattr(changed_pins, "compile_pins", compile_pins)
    return given


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_changed(session: FakeSession, backend: BackendFolder) -> None:
    pinned = environment.Environment(backend.requirements)
    changed_pins.run_changed(cast("Any", session), backend, pinned, COMMAND)


def test_requirements_stand_in_either_form() -> None:
    words = ["-k", "bert", "--with", "a==1", "--with=b @ git+https://x/y", "-x"]
    assert sorted(changed_pins.requirements_of(words)) == ["a==1", "b @ git+https://x/y"]
    assert changed_pins.requirements_of(["-k", "--without"]) == []


def test_a_folder_is_named_after_what_differs() -> None:
    assert pins.apart(WITH) == "with-transformers-5.22.0"
    assert pins.apart(["a>=1,<2", "b @ git+https://x/y"]) == "with-a-1-2_b-git+https-x-y"
    assert pins.apart([]) == ""


def test_an_environment_is_made_once(
    place: Path, backend: BackendFolder, compiled: list[tuple[str, str]]
) -> None:
    posargs = ["--models", "bert", "--with", WITH[0]]
    for _ in range(2):
        session = InstallingSession(place / ".nox" / "some-cpu", *posargs)
        run_changed(session, backend)
        folder = place / ".nox" / "some-cpu-with-transformers-5.22.0"
        python = session.commands[-1][0]
        assert Path(python).is_relative_to(folder)
        assert session.commands[-1][1:] == tuple(COMMAND[1:])
    assert compiled == [("numpy\ntransformers==5.22.0\n", "numpy==2.4.6\n")]
    assert not session.made
    assert (folder / "requirements.txt").read_text(encoding="utf-8").startswith(WITH[0])
    assert (
        "Expected results in results/some-cpu.duckdb to compare, found none. "
        "Fix: nox -s some-cpu -- --models bert, then python -m harness diff "
    ) in session.warnings[0].replace("\\", "/")


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("given", [[], ["--results=there"], ["--results", "there"]])
def test_results_are_compared_with_the_pinned_ones(
    place: Path, backend: BackendFolder, given: list[str]
) -> None:
    mine = Path("there" if given else "results/with-transformers-5.22.0", "some-cpu.duckdb")
    for path in (mine, Path("results", "some-cpu.duckdb")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    session = InstallingSession(place / ".nox" / "some-cpu", f"--with={WITH[0]}", *given)
    run_changed(session, backend)
    *_, ran, compared = session.commands
    assert ran[1:] == tuple(COMMAND[1:])
    assert compared[1:5] == ("-m", "harness", "diff", str(Path("results", "some-cpu.duckdb")))
    assert compared[5] == str(mine)
    # A cell that the run left out is not gone.
    assert compared[-1] == changed_pins.KINDS
    assert "gone" not in changed_pins.KINDS
    assert session.options["success_codes"] == (0,)


class FailingSession(InstallingSession):
    """A session whose commands that contain a word fail."""

    failing = ("--backend",)

    def run(self, *command: str, **options: Any) -> None:
        super().run(*command, **options)
        if set(self.failing) & set(command):
            raise nox.command.CommandFailed("Returned code 1")


@pytest.mark.usefixtures("compiled")
def test_what_did_not_run_is_red_whatever_lies_there(
    place: Path, backend: BackendFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the device is missing: results of an earlier run are none of this one."""
    folder = Path("results/with-transformers-5.22.0")
    folder.mkdir(parents=True)
    (folder / "some-cpu.duckdb").touch()
    session = FailingSession(place / ".nox" / "some-cpu", f"--with={WITH[0]}")
    with pytest.raises(nox.command.CommandFailed):  # nothing to compare with
        run_changed(session, backend)
    assert "ran" in session.commands[-1]
    (folder.parent / "some-cpu.duckdb").touch()
    run_changed(session, backend)  # it ran, and the comparison has the last word
    assert "diff" in session.commands[-1]
    monkeypatch.setattr(FailingSession, "failing", ("--backend", "ran"))
    with pytest.raises(nox.command.CommandFailed):
        run_changed(session, backend)
    assert session.commands[-1][1:4] == ("-m", "harness", "ran")
    assert session.commands[-1][-1] == str(folder)


@pytest.mark.usefixtures("compiled")
def test_what_cannot_be_is_said(place: Path, backend: BackendFolder) -> None:
    session = InstallingSession(place / ".nox" / "some-cpu", "--with", "transformers=5")
    with pytest.raises(_SessionQuit, match=r"found 'transformers=5'. Fix: write and quote it"):
        run_changed(session, backend)
    bare = InstallingSession(place / "x", "--with", WITH[0], venv_backend="none")
    with pytest.raises(_SessionQuit, match=r"found --no-venv\. Fix: leave it out"):
        run_changed(bare, backend)
    (backend.folder / "requirements.in").unlink()
    with pytest.raises(_SessionQuit, match=r"Fix: write requirements\.in, then nox"):
        run_changed(InstallingSession(place / "x", "--with", WITH[0]), backend)


# ---- local folders of requirements


def test_folders_beside_backends_are_copied_from_a_package(place: Path) -> None:
    root = place / "package"
    (root / "backends" / "_shared" / "schemas").mkdir(parents=True)
    (root / "backends" / "_shared" / "schemas" / "pyproject.toml").touch()
    lock = root / "backends" / "some_cpu" / "requirements.txt"
    text = "a==1\n-e ./backends/_shared/schemas\n-e ./theirs\n"
    copies = place / "copies"
    copies.mkdir()
    found = environment.with_local_folders(text, lock, copies)
    assert found == f"a==1\n{copies / 'schemas'}\n-e ./theirs\n"
    assert (copies / "schemas" / "pyproject.toml").is_file()


def test_folders_of_a_checkout_stay(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    lock = place / "backends" / "some_cpu" / "requirements.txt"
    text = "-e ./backends/_shared/schemas\n"
    assert environment.with_local_folders(text, lock, place / "copies") == text


# ---- the session


def test_results_lie_apart_and_are_marked(make_result: Callable[..., CellResult]) -> None:
    run, pinned = Run(Options("torch-cpu", instead=WITH)), Run(Options("torch-cpu"))
    cell = Cell(run.catalog.entries["bert"], "torch-cpu", "default")
    assert any(line.startswith("with: transformers==5.22.0 in place") for line in header(run, []))
    run.jobs.snapshot = pinned.jobs.snapshot = {"bert": cast("Any", "a signature")}
    assert pinned.job(cell).expected_signature == "a signature"
    assert run.job(cell).expected_signature is None
    assert "--with=transformers==5.22.0" in run.rerun(make_result("bert"))
    with pytest.raises(HarnessError, match="without --with, once the pins have it"):
        run.update_expectations()
    spec = backends.find("torch-cpu")
    assert lock_of(spec, WITH) not in {lock_of(spec), ""}


@pytest.mark.parametrize(
    ("words", "status"), [(["--with", WITH[0]], 0), (["--with", "transformers=5"], 4)]
)
def test_the_option_is_checked(words: list[str], status: int, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write(vision="vit")
    done = place.run("good", "--co", "-q", *words)
    assert done.returncode == status, done.stdout
