"""Version of the harness, as its distribution has it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tomllib

from harness.toolkit.checkout import INSTALLED, ROOT

#: The name of the distribution.
DISTRIBUTION = "hf-hardware-matrix"


def version() -> str:
    """The version of the installed distribution, or of the checkout.

    Raises:
        importlib.metadata.PackageNotFoundError: the package lies somewhere without its metadata.
    """
    if INSTALLED:
        return importlib.metadata.version(DISTRIBUTION)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def identity() -> str:
    """The version of the installed distribution with a digest of its files: `0.1.0 (3f2a91c07b44)`.

    Two builds may have the same version: those of two commits between releases do.

    Raises:
        importlib.metadata.PackageNotFoundError: the package lies somewhere without its metadata.
    """
    record = importlib.metadata.distribution(DISTRIBUTION).read_text("RECORD") or ""
    files = sorted(line for line in record.splitlines() if ",sha256=" in line)
    own = [line for line in files if _is_of_the_package(line.partition(",")[0])]
    digest = hashlib.sha256("\n".join(own).encode()).hexdigest()
    return f"{version()} ({digest[:12]})"


def _is_of_the_package(path: str) -> bool:
    """Whether a file of RECORD is of the build, and not of the environment it is installed in.

    The script `../../../bin/hf-hardware-matrix` begins with the path of the environment's Python.
    """
    return ".dist-info/" not in path and not path.startswith("..")
