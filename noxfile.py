"""One session per hardware backend, and the project's own chores.

  nox                                    lint, tests and the mock backend
  nox -l                                 this list: every session, and whether its hardware is here
  nox -s torch-cpu                       every model on one backend, in its own environment
  nox -s torch-cpu -- -k bert -x         what stands behind -- goes to pytest, unchanged
  nox -s NAME -- --require-device        missing hardware is an error instead of a skip
  nox -s NAME -- --fallback cpu          the CPU stands in for it; no row counts for the device
  nox -s measure -- NAME                 speed and memory on one backend, a cell at a time
  nox -s report                          results/report.html and .md, from all sessions so far

From another folder: nox -f PATH/TO/noxfile.py ... or python PATH/TO/noxfile.py ...; sessions run
in the checkout's root either way, so paths behind -- are relative to the root.
An environment is kept until its pins change; nox --reuse-venv=never builds it anew, and
nox --no-venv runs on what the Python of nox itself has installed, for example in a vendor's image.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # nox may run on an older one than the project
    sys.exit(
        f"noxfile.py: expected Python 3.11 or newer, found {sys.version.split()[0]} at "
        f"{sys.executable}. Fix: python3.11 -m pip install 'nox[uv]' && python3.11 -m nox"
    )

import glob
import hashlib
import os
import platform
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import nox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

nox.needs_version = ">=2026.4.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.envdir = ".nox"
nox.options.error_on_external_run = True

ROOT = Path(__file__).resolve().parent
# For the reading of pins, which a session imports when it runs: `nox -l` has no use for it.
sys.path.insert(0, str(ROOT))
#: Sessions of a bare `nox`.
DEFAULT = ("lint", "tests", "mock")
#: The backend whose pins the project's own tests and the model lists' coverage run on.
REFERENCE = "torch_cpu"
SOURCES = ("harness", "backends", "tools", "tests", "benchmarks", "noxfile.py")
#: Platforms of a backend that names none, as `sys.platform` says them.
PLATFORMS = ("linux", "darwin", "win32")
#: The kinds of values in a `backend.toml`, in words.
KINDS: dict[type, str] = {str: "a string", list: "a list of strings", dict: "a table"}
#: Present in every environment when set by nobody; see `session_environment`.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
#: Tells a run which nox has started it: a killed nox tells nobody, and the run looks for itself.
PARENT = "HARNESS_PARENT"
#: How long an interrupted pytest may take to stop its workers and store what is done, before it is
#: terminated and, after the same time again, killed. Nox's own 0.3 s is too short for that.
STOP_SECONDS = 15.0
#: The file of a backend with packages to leave out, which only uv can.
EXCLUDES = "excludes.txt"
#: The file in an environment that says which pins it was made from.
STAMP = "pins.sha256"


class Backend(NamedTuple):
    """One folder of `backends/`, as far as sessions need its `backend.toml`."""

    folder: Path
    title: str
    torch_backend: str = ""
    python: tuple[str, ...] = ()
    platforms: tuple[str, ...] = PLATFORMS
    hardware: Mapping[str, Any] = {}
    runs_on: str | list[str] = ""  # a GitHub runner's labels; empty: none is known

    @property
    def name(self) -> str:
        """The session's name: `torch_cpu` is `torch-cpu`."""
        return self.folder.name.replace("_", "-")

    @property
    def requirements(self) -> Path:
        """The compiled pins."""
        return self.folder / "requirements.txt"


class Machine(NamedTuple):
    """Facts of a machine that a hardware hint is held against; made anew in tests."""

    platform: str  # sys.platform
    architecture: str  # platform.machine()
    exists: Callable[[str], bool]  # whether a glob matches anything

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        return cls(
            sys.platform,
            platform.machine().lower(),
            lambda pattern: next(glob.iglob(pattern), None) is not None,
        )


class Missing(NamedTuple):
    """Why a backend cannot run on this machine, and what to do about it."""

    needs: str
    reason: str
    fix: str
    replaceable: bool = True  # by the CPU, with `--fallback`: its packages can be installed


# --- The folders of backends/ ---------------------------------------------------------------------


def check(path: Path, table: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Leave nox with a message where a key of the table is not of its kind."""
    for key, kind in kinds.items():
        value = table.get(key, kind())
        strings = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if not isinstance(value, kind) or not strings:
            wanted = KINDS[kind]
            sys.exit(f"{path}: expected {key} to be {wanted}, found {value!r}. Fix that line.")


def read_backend(path: Path) -> Backend:
    """The backend that a `backend.toml` describes; the keys of the harness are left to it.

    Raises:
        SystemExit: the file is no TOML, or a key is missing or wrong; says how to fix it.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # also of too many digits, or brackets
        sys.exit(f"{path}: expected a TOML file, found: {error}. Fix that line.")
    check(path, facts, {"title": str, "torch_backend": str, "python": list, "platforms": list})
    check(path, facts, {"hardware": dict})
    hint = facts.get("hardware", {})
    check(path, hint, {"paths": list, "platform": str, "found": str, "fix": str})
    if not facts.get("title"):
        sys.exit(f'{path}: expected title = "...", found none. Add it: `nox -l` shows it.')
    if hint and not (hint.get("found") and hint.get("fix") and hint.keys() & {"paths", "platform"}):
        sys.exit(f"{path}: expected found, fix, and paths or platform in [hardware]. Add them.")
    platforms = tuple(facts.get("platforms") or PLATFORMS)
    if unknown := set(platforms) - set(PLATFORMS):
        sys.exit(f"{path}: expected platforms among {PLATFORMS}, found {unknown}. Rename it.")
    plain = not hint and "linux" in platforms
    return Backend(
        path.parent,
        facts["title"],
        facts.get("torch_backend", ""),
        tuple(facts.get("python", ())),
        platforms,
        hint,
        facts.get("runs_on", "ubuntu-latest" if plain else ""),
    )


def find_backends(root: Path) -> list[Backend]:
    """Every folder of `backends/` that has a `backend.toml`, by name; `_folders` are none."""
    found = sorted((root / "backends").glob("[!_.]*/backend.toml"))
    return [read_backend(path) for path in found]


def missing(backend: Backend, machine: Machine) -> Missing | None:
    """The hardware that this machine lacks, by the backend's cheap hint; None: it is here."""
    if machine.platform not in backend.platforms:
        wanted = " or ".join(backend.platforms)
        return Missing(
            wanted,
            f"{backend.name} runs on {wanted}, and this machine is {machine.platform}.",
            f"run it on {wanted}.",
            replaceable=False,
        )
    hint = backend.hardware
    paths = hint.get("paths", [])
    here = f"{machine.platform}-{machine.architecture}"
    if not hint or hint.get("platform") == here or any(map(machine.exists, paths)):
        return None
    wanted = ", ".join([*paths, *([hint["platform"]] if "platform" in hint else [])])
    return Missing(
        hint["found"],
        f"{backend.name} needs {hint['found']}: expected one of {wanted}, found {here} without.",
        hint["fix"],
    )


def describe(backend: Backend, lack: Missing | None) -> str:
    """The backend's line in `nox -l`."""
    if lack:
        return f"{backend.title}: skipped here, needs {lack.needs}"
    return f"{backend.title}: ready, {backend.hardware.get('found', 'no special hardware needed')}"


def interpreter(backend: Backend, running: str) -> str | None:
    """The Python to run the backend on; None is the one that nox runs on, wanted where it can be.

    Args:
        backend: its `python` lists the versions that it supports, oldest first; none: any.
        running: nox's own version, `3.11`.
    """
    if not backend.python or running in backend.python:
        return None
    return backend.python[-1]


# --- Environments ---------------------------------------------------------------------------------


class Environment(NamedTuple):
    """Packages of a session: pins that `nox -s lock` compiled, groups of pyproject.toml, or both.

    The groups get the versions that the pins have, where both name a package.
    """

    pins: Path | None = None
    groups: tuple[str, ...] = ()
    constraints: Path | None = None
    torch_backend: str = ""
    gpu: bool = True  # the packages of the pins that only CUDA builds of torch want

    def requirements(self) -> list[str]:
        """The arguments of the installer that name what to install."""
        project = nox.project.load_toml(ROOT / "pyproject.toml")
        arguments = list(nox.project.dependency_groups(project, *self.groups))
        if self.pins:
            arguments += ["-r", str(self.pins.relative_to(ROOT))]
        if self.constraints:
            arguments += ["-c", str(self.constraints.relative_to(ROOT))]
        return arguments

    @property
    def excludes(self) -> Path | None:
        """The file beside the pins that names packages to leave out, though others require them."""
        path = self.pins.with_name(EXCLUDES) if self.pins else None
        return path if path and path.is_file() else None

    def key(self) -> str:
        """A digest that changes with what is to be installed."""
        words = (*self.requirements(), self.torch_backend, *([] if self.gpu else ["no gpu"]))
        digest = hashlib.sha256("\0".join(words).encode())
        for path in filter(None, (self.pins, self.constraints, self.excludes)):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()


def wheel_index(
    torch_backend: str, environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str | None]]:
    """Where uv finds torch and local wheels: its arguments, and what to add to its environment.

    A wheel index or wheels that the user has set come before the one that the backend names.
    """
    links = environ.get("PIP_FIND_LINKS", "").split()
    added: dict[str, str | None] = {}
    if links and not environ.get("UV_FIND_LINKS"):
        added["UV_FIND_LINKS"] = ",".join(links)
    chosen = links or environ.get("UV_FIND_LINKS") or environ.get("UV_TORCH_BACKEND")
    return (["--torch-backend", torch_backend] if torch_backend and not chosen else []), added


def install(session: nox.Session, environment: Environment) -> None:
    """Install what the environment wants, unless it was made from the same pins before.

    `nox --no-venv` installs nothing: it is for a machine whose Python has the SDK already.
    """
    if session.venv_backend == "none":
        return
    for path in filter(None, (environment.pins, environment.constraints)):
        if not path.is_file():
            name = path.relative_to(ROOT)
            session.error(f"Expected the pins in {name}, found no such file. Fix: nox -s lock")
    stamp = session.env_dir / STAMP
    key = environment.key()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    index: list[str] = []
    added: dict[str, str | None] = {}
    if session.venv_backend == "uv":
        index, added = wheel_index(environment.torch_backend, os.environ)
        if environment.excludes:
            index += ["--excludes", str(environment.excludes.relative_to(ROOT))]
    elif environment.torch_backend and not os.environ.get("PIP_FIND_LINKS"):
        session.warn(
            "pip installs torch from its default index, which may be several GB of CUDA; uv would "
            f"take the {environment.torch_backend} wheels. Fix: python -m pip install uv"
        )
    with tempfile.TemporaryDirectory() as folder:
        arguments = environment.requirements()
        if environment.pins and not environment.gpu:
            from harness.environments.pins import without_cuda

            pins = Path(folder, environment.pins.name)
            pins.write_text(without_cuda(environment.pins.read_text(encoding="utf-8")))
            arguments[arguments.index("-r") + 1] = str(pins)
        session.install(*index, *arguments, env=added, silent=False)
    # An install command, so that `nox -R`, which installs nothing, leaves no false stamp.
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    session.run_install("python", "-c", write, str(stamp), key, silent=True, log=False)


def reusable(name: str, environment: Environment) -> bool | None:
    """Whether the session's last environment was made from the same pins; None leaves it to nox."""
    stamp = ROOT / nox.options.envdir / name / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == environment.key():
        return True
    return None


def session_environment(environ: Mapping[str, str], folder: Path | None) -> dict[str, str | None]:
    """Environment variables of a session's commands, beside the user's own.

    Args:
        environ: the user's.
        folder: the session's environment, where it has one.
    """
    made: dict[str, str | None] = {
        name: value for name, value in ENVIRONMENT.items() if name not in environ
    }
    clean = environ.get("PYTHONDONTWRITEBYTECODE") and "PYTHONPYCACHEPREFIX" not in environ
    if folder and clean:
        # That asks for a clean tree. Without any bytecode each process would compile torch anew.
        made |= {"PYTHONDONTWRITEBYTECODE": None, "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
    return made


def run(session: nox.Session, *command: str, **changes: str | None) -> None:
    """Run a command of the session's environment; an interrupted one gets time to store results."""
    folder = None if session.venv_backend == "none" else session.env_dir.resolve()
    session.run(
        *command,
        env={**session_environment(os.environ, folder), PARENT: str(os.getpid()), **changes},
        interrupt_timeout=STOP_SECONDS,
        terminate_timeout=STOP_SECONDS,
    )


# --- Sessions of the backends ---------------------------------------------------------------------


def pytest_command(name: str, posargs: Sequence[str]) -> list[str]:
    """The command that runs a backend: on every model list, unless posargs name some of them.

    Args:
        name: the session's name, which is the backend's.
        posargs: what stands behind `--`; comes last and unchanged.
    """
    # With -c, pytest does not look for its ini file beside a folder such as that of --results.
    ini = ["-c", "pyproject.toml", "-p", "harness.plugin"]
    return ["python", "-m", "pytest", *ini, "--backend", name, *posargs]


def falls_back(words: Sequence[str]) -> bool:
    """Whether a command line asks for a stand-in for missing hardware.

    Nox makes a session's environment before it shows what stands behind `--`.
    """
    return any(word.split("=")[0] == "--fallback" for word in words)


def downloads(words: Sequence[str]) -> bool:
    """Whether what stands behind `--` asks for checkpoints from the hub."""
    joined = " ".join(words).replace("=", " ")
    return "--weights pretrained" in joined


def add_backend(backend: Backend, machine: Machine, words: Sequence[str] = ()) -> None:
    """Register the session of one backend.

    Args:
        backend: its folder.
        machine: what its hardware hint is held against.
        words: the command line.
    """
    lack = missing(backend, machine)
    stands_in = lack is not None and lack.replaceable and falls_back(words)
    environment = Environment(backend.requirements, torch_backend=backend.torch_backend)
    if stands_in:
        environment = environment._replace(torch_backend="cpu", gpu=False)
    skips = lack is not None and not stands_in

    def run_backend(session: nox.Session) -> None:
        if lack and (skips or "--require-device" in session.posargs):
            message = f"{lack.reason} Fix: {lack.fix}".removesuffix(".")  # nox adds its own
            if "--require-device" in session.posargs:
                session.error(message)
            session.skip(message)
        install(session, environment)
        # Unset, unless the user has set it: only then does the hub's library ask the network.
        online = downloads(session.posargs) and "HF_HUB_OFFLINE" not in os.environ
        changes = {"HF_HUB_OFFLINE": None} if online else {}
        run(session, *pytest_command(backend.name, session.posargs), **changes)

    run_backend.__doc__ = describe(backend, lack)
    register = nox.session(
        name=backend.name,
        tags=["backend"],
        default=backend.name in DEFAULT,
        python=None if skips else interpreter(backend, "{}.{}".format(*sys.version_info)),
        reuse_venv=reusable(backend.name, environment),
        # No environment is made for a session that can only be skipped.
        venv_backend="none" if skips else None,
    )
    function = register(run_backend)
    # What `nox -t backend -l --json` tells a workflow about the session: where it can run.
    vars(function)["call_spec"] = {"runs_on": backend.runs_on} if backend.runs_on else {}


BACKENDS = {backend.folder.name: backend for backend in find_backends(ROOT)}
for _backend in BACKENDS.values():
    add_backend(_backend, Machine.here(), sys.argv)


# --- Sessions of the project ----------------------------------------------------------------------


def reference_environment(*groups: str) -> Environment:
    """The environment of the reference backend, and groups of pyproject.toml on top."""
    backend = BACKENDS[REFERENCE]
    return Environment(backend.requirements, groups, torch_backend=backend.torch_backend)


def light_environment(*groups: str) -> Environment:
    """Groups of pyproject.toml without any SDK, in the versions that the mock backend has."""
    return Environment(groups=groups, constraints=BACKENDS["mock"].requirements)


TESTS = reference_environment("tests")
LINT = light_environment("lint")
REPORT = light_environment("report")
COVERAGE = reference_environment()
LOCK = Environment(groups=("lock",))


@nox.session(reuse_venv=reusable("tests", TESTS))
def tests(session: nox.Session) -> None:
    """Project: its own tests on every core, with the coverage of its code; -- -n 0 for one.

    Some of the tests, by their files, come without the table of coverage: it says nothing of them.
    """
    install(session, TESTS)
    session.run("coverage", "erase", silent=True)
    # addopts load the harness's plugin, whose -n says how many cells run at once, and block
    # pytest-xdist, whose -n says how many tests do. Here nothing but pytest-xdist is wanted.
    parallel = ["--override-ini", "addopts=", "-p", "xdist", "-n", "logical", "--dist", "worksteal"]
    command = ["coverage", "run", "-m", "pytest", *parallel, *session.posargs]
    try:
        # The tests choose backends themselves.
        run(session, *command, HARNESS_BACKEND=None)
    finally:
        session.run("coverage", "combine", "--quiet", silent=True, success_codes=[0, 1])
    some = any(Path(word.partition("::")[0]).exists() for word in session.posargs)
    if not some:
        session.run("coverage", "report")


@nox.session(reuse_venv=reusable("lint", LINT))
def lint(session: nox.Session) -> None:
    """Project: ruff, mypy, actionlint, zizmor and shellcheck; -- --fix repairs what ruff can."""
    install(session, LINT)
    fix = "--fix" in session.posargs
    workflows = sorted(str(path) for path in Path(".github/workflows").glob("*.y*ml"))
    if not workflows:
        session.error("Expected workflows in .github/workflows, found none. Fix: git checkout")
    scripts = [str(path) for path in Path(".ci").glob("*") if path.is_file()]
    sources = [name for name in SOURCES if name.endswith(".py") or any(Path(name).rglob("*.py"))]
    failed = []
    for command in (
        ["ruff", "check", *session.posargs, *sources],
        ["ruff", "format", *([] if fix else ["--check"]), *sources],
        ["mypy", *sources],
        ["actionlint", *workflows],
        ["zizmor", "--offline", "--persona", "pedantic", "--no-progress", ".github"],
        ["shellcheck", *scripts],
    ):
        try:
            session.run(*command)
        except nox.command.CommandFailed:
            failed.append(" ".join(command[:2] if command[0] == "ruff" else command[:1]))
    if failed:
        names = ", ".join(failed)
        session.error(
            f"{names} found faults, listed above. Fix what ruff can: nox -s lint -- --fix"
        )


@nox.session(default=False, venv_backend="none")
def measure(session: nox.Session) -> None:
    """Project: speed and memory on one backend, a cell at a time: -- BACKEND [its options]."""
    backends, arguments = select(session.posargs, BACKENDS.values())
    if len(backends) != 1:
        session.error(
            "Expected one backend behind --, as in nox -s measure -- torch-cpu --models bert, "
            f"found {' '.join(session.posargs) or 'nothing'}. Fix: nox -l shows the backends"
        )
    session.notify(backends[0].name, ["--measure", *arguments])


@nox.session(default=False, reuse_venv=reusable("report", REPORT))
def report(session: nox.Session) -> None:
    """Project: results/report.html and .md from the results of all sessions."""
    install(session, REPORT)
    run(session, "python", "-m", "harness", "report", *session.posargs)


@nox.session(default=False, reuse_venv=reusable("coverage", COVERAGE))
def coverage(session: nox.Session) -> None:
    """Project: which architectures and models the model lists cover."""
    install(session, COVERAGE)
    run(session, "python", "-m", "harness", "coverage", *session.posargs)


# --- Pins -----------------------------------------------------------------------------------------


def select(posargs: Sequence[str], backends: Iterable[Backend]) -> tuple[list[Backend], list[str]]:
    """The backends that posargs name (all when they name none), and the remaining posargs."""
    by_name = {backend.name: backend for backend in backends}
    named = [by_name[word] for word in posargs if word in by_name]
    return named or list(by_name.values()), [word for word in posargs if word not in by_name]


@nox.session(default=False, reuse_venv=reusable("lock", LOCK))
def lock(session: nox.Session) -> None:
    """Project: compile every backend's pins; -- NAME... for some, -- --upgrade for newer ones."""
    install(session, LOCK)
    backends, arguments = select(session.posargs, BACKENDS.values())
    for backend in backends:
        write_pins(session, backend, arguments)


def write_pins(session: nox.Session, backend: Backend, arguments: Sequence[str]) -> None:
    """Write the backend's requirements.txt, starting from the versions that it has."""
    from harness.environments.pins import compiled

    index, added = wheel_index(backend.torch_backend, os.environ)
    if not backend.torch_backend:
        # PyPI's torch is wanted, and local wheels may be of another one.
        added = {"UV_FIND_LINKS": None}
    path = backend.requirements
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    excludes = Environment(path).excludes
    new = compiled(
        lambda command: session.run(*command, env=added),
        str((backend.folder / "requirements.in").relative_to(ROOT)),
        old,
        python=backend.python[0] if backend.python else "3.11",
        platforms=backend.platforms,
        cuda=not backend.torch_backend or backend.torch_backend.startswith("cu"),
        options=[*index, *arguments],
        excludes=excludes.read_text(encoding="utf-8") if excludes else "",
    )
    if new != old:
        path.write_text(new, encoding="utf-8")
    session.log(f"{path.relative_to(ROOT)}: {'changed' if new != old else 'as it was'}")


if __name__ == "__main__":
    os.chdir(ROOT)
    nox.main()
