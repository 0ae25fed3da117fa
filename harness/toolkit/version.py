"""Version of the harness, as its distribution has it."""

from __future__ import annotations

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
