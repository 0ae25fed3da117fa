"""Rerun command: the command line that runs one cell alone, with every option that matters."""

from __future__ import annotations

import shlex

from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.cell.request import DEFAULT
from harness.contract import CellResult, Entry
from harness.session.options import PASSED_ON, PASSED_ON_LISTS, Options, results_by_default
from harness.session.pretrained import PRETRAINED
from harness.toolkit import typed_commands
from harness.toolkit.checkout import INSTALLED


def rerun_command(result: CellResult, entry: Entry, spec: BackendSpec, options: Options) -> str:
    """The command for a cell of a run, in the place where that ran.

    Args:
        result: of the cell.
        entry: of the cell; `--heads` is given only where the entry has heads.
        spec: the backend's.
        options: of the run.
    """
    given = options.backend_options
    arguments = ["--models", result.entry]
    if entry.heads:
        arguments += ["--heads", result.head]
    if result.precision != "default":
        arguments += ["--precision", result.precision]
    if options.size != "tiny":
        arguments += ["--size", options.size]
    if options.checkpoints is not None:
        arguments.append(f"--checkpoints={options.checkpoints}")
    if options.pretrained is not None:
        arguments += ["--weights", PRETRAINED]
        arguments += ["--trust-remote-code"] if options.pretrained.trusted else []
        arguments += ["--allow-pickle"] if options.pretrained.pickled else []
    if options.checks != DEFAULT:
        arguments += ["--checks", options.checks]
    if options.measure:
        arguments.append("--measure")
    if options.cluster is not None:
        arguments += ["--cluster", str(options.cluster.address)]
    if options.repeat:
        arguments += ["--repeat", str(options.repeat)]
    if options.seed:
        arguments += ["--seed", str(options.seed)]
    for fault in filter(None, given.get("fault", "").split(",")):
        arguments += ["--fault", fault]
    for name in PASSED_ON:
        if name in given:
            arguments += [f"--{name.replace('_', '-')}", given[name]]
    for name in PASSED_ON_LISTS:
        for text in filter(None, given.get(name, "").split("\n")):
            arguments += [f"--{name.replace('_', '-')}", text]
    for requirement in options.instead:
        arguments.append(f"--with={requirement}")
    if given.get("cache") == "off":
        arguments.append("--no-cache")
    lists = [f"--lists={options.lists}"] if options.lists.own else []
    if options.backends != BACKENDS:
        # With `=`: pytest would take a folder outside of the checkout for a path to collect.
        arguments.append(f"--backends-dir={options.backends}")
    arguments += lists
    if options.results.resolve() != results_by_default(options.instead):
        arguments.append(f"--results={options.results}")
    if not INSTALLED and options.backends != BACKENDS:  # the noxfile has no session for it
        return f"python -m pytest --backend {spec.name} {shlex.join(arguments)}"
    return typed_commands.session(spec.name, arguments)
