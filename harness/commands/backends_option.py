"""Option `--backends-dir` of the commands that know backends."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.catalog.backend_spec import BACKENDS


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
