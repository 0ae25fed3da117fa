"""Command line `python -m harness`: the table of commands, none of which is a pytest run.

Each command is a module with `add_arguments(parser)` and `main(arguments) -> int`, imported when
the command is asked for.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence

from harness.contract import HarnessError
from harness.toolkit import printable
from harness.toolkit.checkout import INSTALLED
from harness.toolkit.printable import show
from harness.toolkit.version import DISTRIBUTION, version

#: Command -> its module, and one line about it.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("harness.commands.run", "a session: cells on one backend, with all of its options"),
    "list": ("harness.commands.list", "the entries of the model lists"),
    "devices": (
        "harness.commands.devices",
        "the backends, and whether this machine has their hardware",
    ),
    "check-backend": (
        "harness.commands.check_backend",
        "which promises of the contract a backend keeps, point by point",
    ),
    "advise": (
        "harness.commands.advise",
        "the backends for a model, the best first, from the results",
    ),
    "size": (
        "harness.commands.size",
        "parameters and memory of a model at full size, before anything is loaded",
    ),
    "show": (
        "harness.commands.show",
        "the config that a model is built from, beside the published one",
    ),
    "by-size": (
        "harness.commands.by_size",
        "whether tiny models predict those of published widths, from the results",
    ),
    "discover": ("harness.commands.discover", "architectures that no list names yet"),
    "coverage": ("harness.commands.coverage", "how much of transformers the model lists cover"),
    "code-coverage": (
        "harness.commands.code_coverage",
        "which code of its modeling file each architecture's cells run",
    ),
    "dockerfile": ("harness.commands.dockerfile", "the Dockerfile of a backend, with its device"),
    "expectations": ("harness.commands.expectations", "check and show the expected failures"),
    "report": ("harness.commands.report", "results of all sessions, as HTML and Markdown"),
    "sql": ("harness.commands.sql", "a question to the results of all sessions, in SQL"),
    "diff": ("harness.commands.diff", "changed cells, times and pins between two results or runs"),
    "ran": ("harness.commands.ran", "whether a session has stored a finished run, for CI"),
    "localise": (
        "harness.commands.localise",
        "the first submodule or operator at which a cell goes wrong",
    ),
    "repro": ("harness.commands.repro", "a standalone script that shows a cell's failure"),
    "bisect": ("harness.commands.bisect", "the version of a package since which a cell fails"),
    "set-aside": (
        "harness.commands.set_aside",
        "move a damaged results file away whole, with its log",
    ),
    "durations": ("harness.commands.durations", "what each cell took, to split shards by"),
    "operators": ("harness.commands.operators", "which unsupported operator blocks which entries"),
    "seeds": ("harness.commands.seeds", "example inputs that are far from ties, by trying"),
    "arguments": ("harness.commands.arguments", "arguments of forward that no input of a cell has"),
    "generating": (
        "harness.commands.generating",
        "classes with a generate() that no cell lets generate",
    ),
    "record": ("harness.commands.record", "the models' signatures, for the mock backend"),
    "record-checkpoints": (
        "harness.commands.record_checkpoints",
        "the checkpoints that this version of transformers saves",
    ),
}


#: Commands that write files of this project: of a checkout only.
OF_A_CHECKOUT = frozenset({"record", "record-checkpoints", "seeds"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2: bad usage or bad input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        show(f"{DISTRIBUTION} {version()}")
        return 0
    if not arguments or arguments[0] in {"-h", "--help"}:
        show(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        show(f"There is no command {name!r}.{hint}\n\n{usage()}", file=sys.stderr)
        return 2
    if INSTALLED and name in OF_A_CHECKOUT:
        show(
            f"expected a checkout for {name}, which works on this project's own files, found an "
            "installed package. Fix: run it in a checkout of the project",
            file=sys.stderr,
        )
        return 2
    module_name, about = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"python -m harness {name}", description=about)
    module.add_arguments(parser)
    try:
        return int(module.main(parser.parse_args(rest)) or 0)
    except HarnessError as error:
        show(printable.block(f"{parser.prog}: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0


def usage() -> str:
    """The usage message, with one line for each command."""
    shown = {
        name: about
        for name, (_, about) in COMMANDS.items()
        if not (INSTALLED and name in OF_A_CHECKOUT)
    }
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {about}" for name, about in shown.items()]
    about = "usage: python -m harness COMMAND [OPTIONS], or python -m harness --version"
    return "\n".join([about, "", *lines])


def entry_point() -> None:
    """The console script of the installed package."""
    sys.exit(main())


if __name__ == "__main__":
    entry_point()
