"""The backends that a command knows, and its option `--backends-dir`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.catalog import backends
from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.contract import HarnessError
from harness.toolkit.printable import show


def add_backends_dir(parser: argparse.ArgumentParser) -> None:
    """Add `--backends-dir`."""
    parser.add_argument(
        "--backends-dir",
        type=Path,
        metavar="DIR",
        help="a folder of backends in place of this project's and the installed ones",
    )


def backends_dir(args: argparse.Namespace) -> Path:
    """The folder of backends that a command line means: of `--backends-dir`, or the usual one.

    Args:
        args: with the option of `add_backends_dir`, and perhaps `root`, a checkout.
    """
    if args.backends_dir is not None:
        return Path(args.backends_dir).resolve()
    root: Path | None = getattr(args, "root", None)
    return BACKENDS if root is None else root / "backends"


def every_backend(args: argparse.Namespace) -> dict[str, BackendSpec]:
    """The backends that a command line means, by name; a broken entry point is named on stderr.

    Args:
        args: as of `backends_dir`.

    Raises:
        HarnessError: a `backend.toml` of the folder is broken.
    """
    left_out: list[HarnessError] = []
    found = backends.discover(backends_dir(args), left_out)
    for error in left_out:
        show(f"left out: {error}", file=sys.stderr)
    return found
