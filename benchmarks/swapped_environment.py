"""Virtual environments of a backend with one package swapped for another version.

uv resolves the backend's `requirements.in` with that package pinned, and keeps each other version
of its `requirements.txt` that still fits. The environments stay in the user's cache folder, one for
each backend, package and version, and are made anew when their pins change.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.toolkit.checkout import ROOT
from tools.pins import compiled

#: File in an environment that holds the pins that it was made from.
STAMP = "public-bugs-pins.txt"


def folder() -> Path:
    """The folder of all environments, in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "hf-hardware-matrix", "public-bugs")


def remove() -> None:
    """Remove all environments."""
    shutil.rmtree(folder(), ignore_errors=True)


def interpreter(spec: BackendSpec, package: str, version: str) -> Path:
    """The Python of the environment, which is made where it is missing or out of date.

    Args:
        spec: the backend.
        package: as `requirements.in` names it, `transformers`.
        version: `5.12.0`.

    Raises:
        subprocess.CalledProcessError: uv finds no versions that fit, or cannot install them.
    """
    environment = folder() / f"{spec.name}-{package}-{version}"
    python = environment / "bin" / "python"
    stamp = environment / STAMP
    wanted = _pins(spec, package, version, environment.with_name(f"{environment.name}.in"))
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(environment, ignore_errors=True)
    _run(["uv", "venv", "--quiet", "--python", "3.11", str(environment)])
    pins = environment / "requirements.txt"
    pins.write_text(wanted, encoding="utf-8")
    index = wheel_options(os.environ)
    _run(["uv", "pip", "sync", "--quiet", "--python", str(python), *index, str(pins)])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _pins(spec: BackendSpec, package: str, version: str, source: Path) -> str:
    source.parent.mkdir(parents=True, exist_ok=True)
    told = (spec.folder / "requirements.in").read_text(encoding="utf-8")
    source.write_text(swapped(told, package, version), encoding="utf-8")
    return compiled(
        _run,
        str(source),
        without(spec.lock.read_text(encoding="utf-8"), package),
        python="3.11",
        platforms=["linux"],
        cuda=False,
        options=wheel_options(os.environ),
    )


def swapped(requirements: str, package: str, version: str) -> str:
    """The text of a `requirements.in` that asks for one version of a package."""
    pattern = rf"^{re.escape(package)}(?:\[[\w,-]+\])?(?![\w.-]).*\n"
    return re.sub(pattern, "", requirements, flags=re.MULTILINE) + f"{package}=={version}\n"


def without(pins: str, package: str) -> str:
    """The pins without those of one package."""
    return re.sub(rf"^{re.escape(package)}==.*\n", "", pins, flags=re.MULTILINE)


def wheel_options(environ: Mapping[str, str]) -> list[str]:
    """Uv's options that make torch come as a CPU build: none where the user has said whence."""
    said = ("UV_FIND_LINKS", "UV_TORCH_BACKEND", "PIP_FIND_LINKS")
    return [] if any(environ.get(name) for name in said) else ["--torch-backend", "cpu"]


def _run(command: Sequence[str]) -> None:
    environment = dict(os.environ)
    links = environment.get("PIP_FIND_LINKS", "").split()
    if links:
        environment.setdefault("UV_FIND_LINKS", ",".join(links))
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
