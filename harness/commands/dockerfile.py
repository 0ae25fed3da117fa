"""`python -m harness dockerfile NAME`: the Dockerfile of a backend, or the line that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.catalog import backends
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.environments import containers
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.printable import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness dockerfile`."""
    parser.description = (
        "Prints the Dockerfile of a backend: a pinned base, a user that is not root, the backend's "
        "pins; made from its backend.toml."
    )
    parser.add_argument("name", metavar="NAME", help="of the backend")
    parser.add_argument(
        "--run", action="store_true", help="the command that runs the image with its device"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where it goes (printed)")
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints or writes the Dockerfile.

    Raises:
        HarnessError: there is no such backend, or it does not run in a container.
    """
    spec = backends.find(args.name, backends_dir(args))
    text = f"{containers.run_line(spec)}\n" if args.run else containers.dockerfile(spec)
    if args.output is None:
        show(text, end="")
    else:
        write_atomically(args.output, text)
    return 0
