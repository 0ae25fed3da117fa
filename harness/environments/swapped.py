"""Virtual environments of a backend with other versions of its packages, made by uv.

One package is swapped: uv resolves the backend's `requirements.in` with that package pinned, and
keeps each other version of its `requirements.txt` that still fits. Or all pins are given: uv
installs them as they are. The environments stay in the user's cache folder, and are made anew when
their pins change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.catalog.entry_points import distribution_of
from harness.contract import HarnessError
from harness.environments import installed_copy, locks
from harness.environments.local_folders import LocalFolders
from harness.environments.pins import (
    GROUP,
    compiled,
    own_requirements,
    with_requirement,
    without,
)
from harness.toolkit.checkout import INSTALLED, working_folder
from harness.toolkit.version import DISTRIBUTION

#: File in an environment that holds the pins that it was made from.
STAMP = "pins.txt"

#: File in an environment with digests of the distributions and folders that were copied into it.
COPIED = "copied.txt"


class NotInstalled(HarnessError):
    """An environment that uv cannot make, as of versions that exclude each other.

    Args:
        command: the one that failed.
        found: what uv said, in one line.
    """

    def __init__(self, command: str, found: str) -> None:
        self.found = f"found that {command} failed: {found}"
        super().__init__(f"expected an environment, {self.found} Fix: another version")


def folder() -> Path:
    """The folder of all environments, in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, DISTRIBUTION, "environments")


def remove() -> None:
    """Remove all environments."""
    shutil.rmtree(folder(), ignore_errors=True)


def check_uv() -> None:
    """Refuse to go on without uv.

    Raises:
        HarnessError: there is no uv on PATH.
    """
    if shutil.which("uv") is None:
        raise HarnessError("expected uv on PATH, found none. Fix: python -m pip install uv")


def interpreter(spec: BackendSpec, package: str, version: str) -> Path:
    """The Python of the environment, which is made where it is missing or out of date.

    Args:
        spec: the backend.
        package: as `requirements.in` names it, `transformers`.
        version: `5.12.0`.

    Raises:
        NotInstalled: uv finds no versions that fit, or cannot install them.
    """
    told = (spec.folder / "requirements.in").read_text(encoding="utf-8")
    kept = without(spec.lock.read_text(encoding="utf-8"), package)
    pins = _compiled(spec, swapped(told, package, version), kept)
    return _made(folder() / f"{spec.name}-{package}-{version}", pins, spec)


def interpreter_near(spec: BackendSpec, package: str, version: str, pins: str) -> Path:
    """The Python of an environment with one version of a package, close to the pins of a lock file.

    Args:
        spec: the backend, whose `requirements.in` says what is needed, here in any version.
        package: as that file names it.
        version: of the package.
        pins: the text of the lock file; uv keeps those that still fit.

    Raises:
        NotInstalled: uv finds no versions that fit, or cannot install them.
    """
    told = (spec.folder / "requirements.in").read_text(encoding="utf-8")
    asked = swapped(locks.loosened(told), package, version)
    return interpreter_of(spec, _compiled(spec, asked, without(pins, package)))


def interpreter_of(spec: BackendSpec, pins: str) -> Path:
    """The Python of the environment with just these pins, whether or not they fit each other.

    Args:
        spec: the backend, whose name the environment has.
        pins: the text of a `requirements.txt`.

    Raises:
        NotInstalled: uv cannot install them.
    """
    told = json.dumps(locks.pins(pins), sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return _made(folder() / f"{spec.name}-{digest}", pins, spec)


def pins_of(python: Path) -> str:
    """The pins that an environment was made from, as the text of a `requirements.txt`."""
    return (python.parents[1] / STAMP).read_text(encoding="utf-8")


def swapped(requirements: str, package: str, version: str) -> str:
    """The text of a `requirements.in` that asks for one version of a package."""
    return with_requirement(requirements, f"{package}=={version}")


def wheel_options(environ: Mapping[str, str]) -> list[str]:
    """Uv's options that make torch come as a CPU build: none where the user has said whence."""
    said = ("UV_FIND_LINKS", "UV_TORCH_BACKEND", "PIP_FIND_LINKS")
    return [] if any(environ.get(name) for name in said) else ["--torch-backend", "cpu"]


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a command of uv, or of pip under uv: each knows the other's.

    Args:
        environ: the variables of this process.
    """
    found = dict(environ)
    if links := found.get("PIP_FIND_LINKS", "").split():
        found.setdefault("UV_FIND_LINKS", ",".join(links))
    elif links := [link for link in found.get("UV_FIND_LINKS", "").split(",") if link]:
        found["PIP_FIND_LINKS"] = " ".join(links)
    if index := found.get("UV_DEFAULT_INDEX") or found.get("UV_INDEX_URL"):
        found.setdefault("PIP_INDEX_URL", index)
    return found


def run_uv(command: Sequence[str]) -> str:
    """The standard output of an `uv` command, run where the paths of requirements are relative to.

    Raises:
        NotInstalled: it fails; the message has the last lines that it printed.
    """
    done = subprocess.run(
        command, cwd=working_folder(), env=settings(os.environ), stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise NotInstalled(f"`{' '.join(command[:3])}`", _told(done.stderr))
    return done.stdout


def _told(errors: str) -> str:
    """The message of uv in one line, without its marks."""
    words = " ".join(re.sub(r"[│├╰─▶×]", " ", errors).split())
    return words or "it printed nothing."


def _compiled(spec: BackendSpec, requirements: str, kept: str) -> str:
    """The pins that uv compiles from the text of a `requirements.in`, keeping those that fit."""
    excludes = spec.folder / "excludes.txt"
    with tempfile.TemporaryDirectory() as temporary:
        source, own = Path(temporary, f"{spec.name}.in"), Path(temporary, f"{DISTRIBUTION}.in")
        local = LocalFolders(spec.lock, Path(temporary), working_folder())
        source.write_text(local.copied(requirements), encoding="utf-8")
        if INSTALLED:
            own.write_text(own_requirements(DISTRIBUTION), encoding="utf-8")
        text = compiled(
            run_uv,
            str(source),
            kept,
            python=locks.PYTHON,
            platforms=[sys.platform],
            cuda=False,
            options=wheel_options(os.environ),
            excludes=excludes.read_text(encoding="utf-8") if excludes.is_file() else "",
            harness=[str(own)] if INSTALLED else GROUP,
        )
        return local.restored(text)


def _made(environment: Path, wanted: str, spec: BackendSpec) -> Path:
    """The Python of an environment with pins, which is made unless it was made from them before.

    Comments count for nothing: they name the file that the pins were compiled from. What is
    installed here of this project, and of the backend's distribution, is copied, and so are the
    backend's local folders: the environment outlives the checkout that it was made from.
    """
    places = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = environment.joinpath(*places)
    stamp, copied = environment / STAMP, environment / COPIED
    names = [*([DISTRIBUTION] if INSTALLED else []), *filter(None, [distribution_of(spec)])]
    try:
        of = {name: installed_copy.fingerprint(name) for name in names}
    except installed_copy.NotCopied as error:
        raise HarnessError(str(error)) from error
    local = LocalFolders(spec.lock, environment / "local", None)
    digests = "".join(f"{name} {each}\n" for name, each in (of | local.digests(wanted)).items())
    if (
        stamp.is_file()
        and locks.pins(stamp.read_text(encoding="utf-8")) == locks.pins(wanted)
        and (copied.read_text(encoding="utf-8") if copied.is_file() else "") == digests
    ):
        return python
    shutil.rmtree(environment, ignore_errors=True)
    run_uv(["uv", "venv", "--quiet", "--python", locks.PYTHON, str(environment)])
    pins = environment / "requirements.txt"
    own = [" ".join(installed_copy.requirement(name, environment)) for name in names]
    pins.write_text("\n".join([local.copied(wanted), *own, ""]), encoding="utf-8")
    index = wheel_options(os.environ)
    run_uv(["uv", "pip", "sync", "--quiet", "--python", str(python), *index, str(pins)])
    copied.write_text(digests, encoding="utf-8")
    stamp.write_text(wanted, encoding="utf-8")
    return python
