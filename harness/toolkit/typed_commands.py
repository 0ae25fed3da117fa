"""Commands for messages, as a person types them where this process runs.

In a checkout, and where nox has started this process, they are nox sessions. An installed package
without nox has `python -m hf_hardware_matrix` for them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.toolkit.checkout import INSTALLED, shown_path
from harness.toolkit.public_name import OWN

#: Environment variable with the process id of the nox that has started this process.
STARTED_BY_NOX = "HARNESS_PARENT"


def by_nox() -> bool:
    """Whether there is a noxfile with sessions of the harness where this process runs."""
    return not INSTALLED or STARTED_BY_NOX in os.environ


def session(backend: str, options: Sequence[str] = ()) -> str:
    """The command of a backend's session: `nox -s mock -- --models bert`.

    Args:
        backend: the session's name.
        options: behind `--`.
    """
    if by_nox():
        return shlex.join(["nox", "-s", backend, *(["--", *options] if options else [])])
    return f"{python()} -m {OWN} {shlex.join(['run', backend, *options])}"


def measure(backend: str, options: Sequence[str]) -> str:
    """The command of a session that measures: `nox -s measure -- openvino --models bert`.

    Args:
        backend: the session's name.
        options: of the session.
    """
    if by_nox():
        return shlex.join(["nox", "-s", "measure", "--", backend, *options])
    return session(backend, ["--measure", *options])


def with_packages(install: str, words: Sequence[str]) -> str:
    """The commands that run one of ours in an environment with a backend's packages.

    Args:
        install: installs them without nox, `python -m pip install -r requirements.txt`.
        words: the command, as `size bert`.
    """
    if by_nox():
        python = ".nox/torch-cpu/bin/python"
        return f"nox -s torch-cpu --install-only, then {python} -m {OWN} {shlex.join(words)}"
    return f"{install}, then the same again"


def coverage() -> str:
    """The command that counts what passed; a checkout has a session for it."""
    return f"{python()} -m {OWN} coverage" if INSTALLED else "nox -s coverage"


def report() -> str:
    """The command of the report."""
    return "nox -s report" if by_nox() else f"{python()} -m {OWN} report"


def python() -> str:
    """This Python, as it is typed here: `python` where that is the one on PATH."""
    on_path = shutil.which("python")
    if on_path and Path(on_path).absolute() == Path(sys.executable).absolute():
        return "python"
    return shlex.quote(shown_path(Path(sys.executable).absolute()))
