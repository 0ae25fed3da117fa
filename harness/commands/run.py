"""`python -m harness run BACKEND [OPTIONS]`: a session, without nox, in this environment."""

from __future__ import annotations

import argparse

import pytest

from harness.session.configuration import own_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness run`."""
    parser.description = (
        "Runs cells on one backend, as `nox -s BACKEND` does, in the environment that is there. "
        "Results go to results/ in the current folder."
    )
    parser.add_argument("backend", metavar="BACKEND", help="`python -m harness devices` shows them")
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="OPTIONS",
        help="a session's, as --models and --precision, and pytest's own",
    )


def main(args: argparse.Namespace) -> int:
    """Run the session; returns pytest's exit status."""
    options = [option for option in args.options if option != "--"]
    return int(pytest.main([*own_words(), "--backend", args.backend, *options]))
