"""Exceptions: which checks an architecture is spared, and why (`exceptions.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from harness.contract import BASE, label

#: How `exceptions.toml` names an output that need not be of order 1.
SCALE = "scale of "


def spared_checks(architecture: str, head: str) -> Mapping[str, str]:
    """Which checks do not apply to an architecture with a head, and why."""
    known = exceptions()
    return {**known.get(architecture, {}), **known.get(label(architecture, head), {})}


def spared_outputs(architecture: str, head: str = BASE) -> list[str]:
    """Patterns of the names of outputs that are not of order 1, and rightly so."""
    checks = spared_checks(architecture, head)
    return [name.removeprefix(SCALE) for name in checks if name.startswith(SCALE)]


@cache
def exceptions() -> Mapping[str, Mapping[str, str]]:
    """Architecture -> check -> why that check does not apply to it."""
    text = (Path(__file__).parent / "exceptions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
