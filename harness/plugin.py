"""Pytest plugin: the options of a run.

The plugin is loaded in every pytest run of the repository and does nothing until a backend is
chosen, with `--backend NAME` or `HARNESS_BACKEND=NAME`. Only then are the hooks of a run imported
(`harness.session.hooks`).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

#: Environment variable that chooses a backend where `--backend` does not.
VARIABLE = "HARNESS_BACKEND"

#: Options that mean nothing without a backend, as pytest names them.
_NEED_BACKEND = (
    "models",
    "heads",
    "precision",
    "checkpoints",
    "weights",
    "policy",
    "disk",
    "time_budget",
    "remove_downloads",
    "trust_remote_code",
    "allow_pickle",
    "changed",
    "changed_since",
    "shard",
    "durations_file",
    "repeat",
    "localise",
    "device",
    "fallback",
    "soc",
    "skip_rewrite",
    "ep_library",
    "ep",
    "ep_option",
    "import",
    "require_device",
    "update_expectations",
    "repro",
    "fault",
    "no_cache",
    "with",
    "checks",
    "measure",
    "cluster",
)


def _path(text: str) -> Path:
    """The path that an option names; nothing is no name for the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found an empty name. Fix: name one")
    return Path(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a run to pytest's."""
    group = parser.getgroup("harness", "every model on one backend (see README.md)")
    add = group.addoption
    add("--backend", metavar="NAME", help="run the model lists on this backend; " + VARIABLE)
    add(
        "--models",
        metavar="NAME,...",
        help="subsets, families or entries, or all; if absent, what the backend says, else all",
    )
    add(
        "--heads",
        metavar="NAME,...",
        help="all, base (the headless models), tasks (the others) or names of tasks; if absent, "
        "what the backend says, else all",
    )
    add("--precision", metavar="NAME,...", help="precisions of the backend, or all; default")
    add(
        "--size",
        choices=["tiny", "wide", "full"],
        help="tiny shrinks each architecture (the default); wide keeps widths, and few layers",
    )
    add(
        "--checkpoints",
        type=_path,
        metavar="DIR",
        help="run with the real weights in DIR: ORGANISATION/NAME, or the hub's cache",
    )
    add(
        "--weights",
        choices=["seeded", "pretrained"],
        help="pretrained: download each entry's checkpoint from the hub, and run with that; seeded",
    )
    add(
        "--policy",
        action="store_true",
        help="of the pretrained: every critical entry, half of the high, a quarter of the medium, "
        "those that have not run with these pins before",
    )
    add("--disk", type=float, metavar="GB", help="that checkpoints may take up at once; all of it")
    add(
        "--time-budget",
        type=float,
        metavar="MINUTES",
        help="begin no further checkpoint after so long",
    )
    add(
        "--remove-downloads",
        action="store_true",
        help="remove each checkpoint that was downloaded, once its cells have run",
    )
    add("--trust-remote-code", action="store_true", help="run the modeling code of checkpoints")
    add(
        "--allow-pickle",
        action="store_true",
        help="read weights that can run code, of checkpoints that have no safetensors",
    )
    add("--checks", choices=["default", "deep"], help="deep: the dear checks too; default")
    add(
        "--measure",
        action="store_true",
        help="speed, memory and energy of each cell that runs, one cell at a time",
    )
    add("--seed", type=int, metavar="N", help="of weights and inputs; 0")
    add(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="of one cell; 120, or 600 with --measure, and less "
        "in a first try of cells that took far less in their last runs",
    )
    add("--memory", type=int, metavar="MB", help="that one cell may add; 4096")
    add(
        "--changed",
        action="store_true",
        help="only cells whose code, pins, device or row differ from those of their last result",
    )
    add(
        "--changed-since",
        metavar="REV",
        help="only cells that use what differs, by git, from where this branch left REV",
    )
    add("--shard", metavar="I/N", help="only the I-th of N parts of the entries")
    add(
        "--durations-file",
        type=_path,
        metavar="FILE",
        help="split shards by the durations in FILE, the same in each shard; by count without",
    )
    add(
        "--repeat",
        type=int,
        metavar="N",
        help="run again what fails, up to N times: what also passes is flaky; 0",
    )
    add(
        "--localise",
        action="store_true",
        help="name the submodule or operator of each cell that fails at run or verify",
    )
    # pytest keeps short lowercase options for itself and lets known plugins have them this way.
    group._addoption(
        "-n",
        "--workers",
        metavar="N",
        help="cells at once: a number, or auto for as many as cores (the default); 0 is 1",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="spread the cells over the nodes of a dask.distributed cluster: its scheduler's "
        "address or file, or local:N for N nodes on this machine; -n is then of each node",
    )
    add("--device", metavar="NAME", help="which of the backend's devices")
    add(
        "--fallback",
        choices=["cpu"],
        help="what stands in for a missing device; marks every row, which then counts for none",
    )
    add("--no-cache", action="store_true", help="convert and compile anew, and keep nothing")
    add("--soc", metavar="NAME", help="which chip to compile for, where the backend has a choice")
    add("--skip-rewrite", metavar="NAME,...", help="graph rewrites of the backend to leave out")
    add("--ep-library", metavar="PATH", help="the library of a plugin provider of ONNX Runtime")
    add("--ep", metavar="NAME", help="the provider of that library, where it has several")
    add("--ep-option", metavar="NAME=VALUE", action="append", help="an option of that provider")
    add("--import", metavar="MODULE", help="the module that registers an accelerator of PyTorch")
    add("--require-device", action="store_true", help="a missing device is an error, not a skip")
    add(
        "--update-expectations", action="store_true", help="rewrite the backend's expectations.toml"
    )
    add("--repro", metavar="ENTRY", help="run this entry here, without limits, for a debugger")
    add("--fault", metavar="KIND=ENTRY", action="append", help="a fault for the backend to inject")
    add(
        "--with",
        metavar="REQUIREMENT",
        action="append",
        help="what the environment has in place of its pins, as nox makes it; marks the results, "
        "which go to a folder of their own",
    )
    add("--results", type=_path, metavar="DIR", help="where the results go; results/")
    add("--backends-dir", type=_path, metavar="DIR", help="where the backends are; backends/")
    add(
        "--lists",
        type=_path,
        metavar="PATH",
        help="a list or a folder of lists in place of model_lists/; +PATH: beside it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the hooks of a run where a backend is chosen."""
    backend = config.getoption("backend") or os.environ.get(VARIABLE, "")
    if not backend:
        given = [name for name in _NEED_BACKEND if config.getoption(name)]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise pytest.UsageError(
                f"expected a backend beside {option}, found none. Fix: add --backend NAME, or "
                f"set {VARIABLE}; `nox -l` shows the backends"
            )
        return
    from harness.session.hooks import RunHooks  # most pytest runs have no use for it

    hooks = RunHooks(config, backend)
    config.pluginmanager.register(hooks, RunHooks.NAME)
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(path) for path in hooks.options.lists.paths]
