"""Reader of `backend.toml`: checks a backend's keys and imports nothing of the backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.catalog.backend_spec import PLATFORMS, BackendSpec, Hardware
from harness.contract import HarnessError
from harness.toolkit.public_name import own_name
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, BOOLEAN, INTEGER, STRINGS, TABLE, Key

#: Keys of `backend.toml`'s table `[hardware]`. `nox_sessions/`, which reads the file without the
#: harness, is the reader that requires some.
HARDWARE_KEYS: Mapping[str, Key] = {
    "paths": Key("Glob patterns of device files: the hardware is here where one exists.", STRINGS),
    "platform": Key(
        "A machine that always has it, as `sys.platform`-`machine`; for example darwin-arm64."
    ),
    "found": Key("Its name in messages, with an article: an NVIDIA GPU.", required=True),
    "fix": Key("The command or edit that makes it available.", required=True),
    "kinds": Key(
        "Its kinds in `python -m harness devices`; for example nvidia-gpu.",
        STRINGS,
    ),
}

#: Keys of `backend.toml`.
KEYS: Mapping[str, Key] = {
    "title": Key("Its name for people, as `nox -l` shows it.", required=True),
    "contract": Key(
        "The version of the contract that it is written for; one with an entry point says it.",
        INTEGER,
    ),
    "torch_backend": Key("The wheel index of torch, as uv's --torch-backend takes it: cpu, cu130."),
    "python": Key("The Python versions that its packages support, oldest first.", STRINGS),
    "platforms": Key(
        "The platforms that its packages support, as `sys.platform` names them.",
        STRINGS,
        choices=PLATFORMS,
    ),
    "start_method": Key(
        "How its processes start; spawn for an SDK that does not survive a fork.",
        choices=("forkserver", "spawn"),
    ),
    "worker": Key(
        "What a process serves: one cell, or many where a device's context is dear.",
        choices=("cell", "shared"),
    ),
    "environment": Key(
        "Environment variables of its processes.", TABLE, keys=Key("The variable's value.")
    ),
    "interpose": Key("A C file of its folder that becomes an LD_PRELOAD shim."),
    "preload": Key("The modules that the fork server imports before it forks.", STRINGS),
    "preload_for": Key(
        "The modules that the fork server imports as well, by precision.",
        TABLE,
        keys=Key("The modules for this precision.", STRINGS),
    ),
    "snapshot": Key("Whether its models are held against model_lists/signatures.txt.", BOOLEAN),
    "checkpoints": Key(
        "Whether its sessions look for faults of the library: model_lists/checkpoints.txt, half "
        "precision, long texts.",
        BOOLEAN,
    ),
    "faults": Key("The kinds of --fault that it can inject.", STRINGS),
    "models": Key("What runs without --models; its pins are meant to have all of it."),
    "heads": Key("Which heads run without --heads: all, base, tasks, or names of tasks."),
    "resource": Key(
        "The resource of a cluster's nodes that have its device, as `--resources` of dask worker "
        "names it; for example nvidia-gpu."
    ),
    "resource_for": Key(
        "The resource for each device that `--device` can name, where it is another one.",
        TABLE,
        keys=Key("The resource for this device."),
    ),
    "hardware": Key("A hint at the hardware that it needs.", TABLE, keys=HARDWARE_KEYS),
    "runs_on": Key("The labels of the GitHub runner that can run it.", ANY),
}


def read(folder: Path) -> BackendSpec:
    """Read and check a folder's `backend.toml`.

    Raises:
        HarnessError: it is no TOML, lacks its title, or has an unknown or ill-typed key.
    """
    path = folder / "backend.toml"
    source = TomlFile(path)
    data = source.tables
    source.check_top(KEYS)
    interposed = data.get("interpose")
    if interposed and not (folder / interposed).is_file():
        raise HarnessError(
            f"{path}: expected interpose to name a C file in {folder}, found {interposed!r}. "
            "Fix: add the file, or remove the line"
        )
    values = _tuples(data)
    values.pop("runs_on", None)
    values["preload"] = _here(data.get("preload", ()))
    if "preload_for" in data:
        named: Mapping[str, Sequence[str]] = data["preload_for"]
        values["preload_for"] = {precision: _here(names) for precision, names in named.items()}
    if "hardware" in data:
        values["hardware"] = Hardware(**_tuples(data["hardware"]))
    return BackendSpec(folder=folder.resolve(), **values)


def _here(modules: Iterable[str]) -> tuple[str, ...]:
    """Modules to import, by their names in this process."""
    return tuple(own_name(name) for name in modules)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
