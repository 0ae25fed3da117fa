"""One session per hardware backend, and the project's own chores.

  nox                                    lint, tests and the mock backend
  nox -l                                 this list: every session, and whether its hardware is here
  nox -s torch-cpu                       every model on one backend, in its own environment
  nox -s torch-cpu -- -k bert -x         what stands behind -- goes to pytest, unchanged
  nox -s NAME -- --require-device        missing hardware is an error instead of a skip
  nox -s NAME -- --fallback cpu          the CPU stands in for it; no row counts for the device
  nox -s NAME -- --cluster ADDRESS       its cells on the nodes of a cluster (docs/cluster.md)
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

import os
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from harness.nox_sessions.backend_folder import Machine, find_backends  # noqa: E402
from harness.nox_sessions.backend_session import add_backend  # noqa: E402
from harness.nox_sessions.engine_environment import ENGINE, FOLDER, SETTINGS  # noqa: E402
from harness.nox_sessions.environment import Environment, install, reusable, run, shown  # noqa: E402
from harness.nox_sessions.pins import select, write_pins  # noqa: E402

nox.needs_version = ">=2026.4.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.envdir = ".nox"
nox.options.error_on_external_run = True

#: Sessions of a bare `nox`.
DEFAULT = ("lint", "tests", "mock")
#: The backend whose pins the project's own tests and the model lists' coverage run on.
REFERENCE = "torch_cpu"
#: Has the tests run on the installed wheel.
INSTALLED = "--installed"
#: The word of `nox -s tests` that measures the coverage of the code, named as pytest-cov's.
COVERED = "--cov"
SOURCES = ("harness", "backends", "tools", "tests", "benchmarks", "noxfile.py")

BACKENDS = {backend.folder.name: backend for backend in find_backends(ROOT / "backends")}
for _backend in BACKENDS.values():
    add_backend(_backend, Machine.here(), sys.argv, default=_backend.name in DEFAULT)


def groups(*names: str) -> tuple[str, ...]:
    """The packages of groups of pyproject.toml."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    return tuple(nox.project.dependency_groups(project, *names))


def reference_environment(*names: str) -> Environment:
    """The environment of the reference backend, and groups of pyproject.toml on top."""
    backend = BACKENDS[REFERENCE]
    return Environment(backend.requirements, groups(*names), torch_backend=backend.torch_backend)


def light_environment(*names: str) -> Environment:
    """Groups of pyproject.toml without any SDK, in the versions that the mock backend has."""
    return Environment(packages=groups(*names), constraints=BACKENDS["mock"].requirements)


TESTS = reference_environment("tests")
LINT = light_environment("lint")
REPORT = light_environment("report")
COVERAGE = reference_environment()
LOCK = Environment(packages=groups("lock"))


@nox.session(reuse_venv=reusable("tests", TESTS))
def tests(session: nox.Session) -> None:
    """Project: its own tests on every core; -- --cov: with coverage; --installed: of the wheel.

    Measuring takes half as long again on Python 3.11. Some of the tests, by their files, come
    without the table of coverage: it says nothing of them.
    """
    install(session, TESTS)
    # addopts load the harness's plugin, whose -n says how many cells run at once, and block
    # pytest-xdist, whose -n says how many tests do. Here nothing but pytest-xdist is wanted.
    parallel = ["--override-ini", "addopts=", "-p", "xdist", "-n", "logical", "--dist", "worksteal"]
    words = [word for word in session.posargs if word not in (INSTALLED, COVERED)]
    if INSTALLED in session.posargs:
        run(session, "python", "-m", "tools.installed_tests", *parallel, *words)
        return
    command = ["-m", "pytest", *parallel, *words]
    # The tests choose backends themselves.
    if COVERED not in session.posargs:
        run(session, "python", *command, HARNESS_BACKEND=None)
        return
    session.run("coverage", "erase", silent=True)
    try:
        run(session, "coverage", "run", *command, HARNESS_BACKEND=None)
    finally:
        session.run("coverage", "combine", "--quiet", silent=True, success_codes=[0, 1])
    some = any(Path(word.partition("::")[0]).exists() for word in words)
    if not some:
        session.run("coverage", "report")


@nox.session(reuse_venv=reusable("lint", LINT))
def lint(session: nox.Session) -> None:
    """Project: ruff, mypy, linters of CI files and scripts; -- --fix repairs what ruff can."""
    install(session, LINT)
    fix = "--fix" in session.posargs
    workflows = sorted(str(path) for path in Path(".github/workflows").glob("*.y*ml"))
    if not workflows:
        session.error("Expected workflows in .github/workflows, found none. Fix: git checkout")
    copied = sorted(str(path) for path in Path("examples").glob("*/.github/workflows/*.yml"))
    copied.append("examples/ci/pytorch-relay.yml")
    actions = sorted(str(path) for path in Path(".github/actions").glob("*/action.yml"))
    scripts = [str(path) for path in Path(".ci").glob("*") if path.is_file()]
    sources = [name for name in SOURCES if name.endswith(".py") or any(Path(name).rglob("*.py"))]
    failed = []
    for command in (
        ["ruff", "check", *session.posargs, *sources],
        ["ruff", "format", *([] if fix else ["--check"]), *sources],
        ["mypy", *sources],
        ["actionlint", *workflows, *copied],
        ["zizmor", "--offline", "--persona", "pedantic", "--no-progress", ".github", *copied],
        ["shellcheck", *scripts],
        ["check-jsonschema", "--builtin-schema", "vendor.github-actions", *actions],
        ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "examples/ci/gitlab-ci.yml"],
        ["python", "-m", "tools.jenkinsfile", "examples/ci/Jenkinsfile"],
    ):
        try:
            session.run(*command)
        except nox.command.CommandFailed:
            words = {"ruff": 2, "python": 3}.get(command[0], 1)
            failed.append(" ".join(command[:words]))
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


@nox.session(default=False, reuse_venv=reusable("cluster", ENGINE))
def cluster(session: nox.Session) -> None:
    """Project: a command of the engine of --cluster, -- scheduler or -- worker ADDRESS."""
    install(session, ENGINE)
    if session.posargs:
        run(session, "dask", *session.posargs, **SETTINGS)


# --- Pins -----------------------------------------------------------------------------------------


@nox.session(default=False, reuse_venv=reusable("lock", LOCK))
def lock(session: nox.Session) -> None:
    """Project: compile all pins; -- NAME... for those of some, -- --upgrade for newer ones."""
    install(session, LOCK)
    backends, arguments = select(session.posargs, [*BACKENDS.values(), FOLDER])
    for backend in backends:
        # The engine needs nothing of the harness.
        own = [shown(FOLDER.folder / "requirements.in")] if backend is FOLDER else []
        write_pins(session, backend, arguments, own)


if __name__ == "__main__":
    os.chdir(ROOT)
    nox.main()
