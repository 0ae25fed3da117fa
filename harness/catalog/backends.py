"""The folders of `backends/`: what is there, what each says about itself, and how it is opened.

Reading a backend's `backend.toml` imports nothing of it. Only `load` imports its `backend.py`,
and the harness calls that in a child process.
"""

from __future__ import annotations

import importlib
import platform
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contract import Backend, HarnessError, Unavailable
from harness.toolkit.checkout import ROOT
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.toml_keys import ANY, BOOLEAN, STRING, STRINGS, TABLE, Key

#: Where the backends of this repository are.
BACKENDS = ROOT / "backends"
PLATFORMS = ("linux", "darwin", "win32")
#: What `backend.toml` may say of hardware. `noxfile.py`, which reads the file without the harness,
#: is what requires keys of it.
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

#: What `backend.toml` may say.
KEYS: Mapping[str, Key] = {
    "title": Key("Its name for people, as `nox -l` shows it.", required=True),
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
    "faults": Key("The kinds of --fault that it can inject.", STRINGS),
    "models": Key("What runs without --models; its pins are meant to have all of it."),
    "heads": Key("Which heads run without --heads: all, base, tasks, or names of tasks."),
    "hardware": Key("A hint at the hardware that it needs.", TABLE, keys=HARDWARE_KEYS),
    "runs_on": Key("The labels of the GitHub runner that can run it.", ANY),
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A cheap hint at whether a machine has the hardware, without importing an SDK.

    One of `paths` (globs) exists, or the machine is `platform` (`sys.platform`-`machine`).
    """

    paths: tuple[str, ...] = ()
    platform: str = ""
    found: str = ""
    fix: str = ""
    kinds: tuple[str, ...] = ()  # of `harness.toolkit.hardware.Part`

    def present(self) -> bool:
        """Whether this machine seems to have it."""
        here = f"{sys.platform}-{platform.machine().lower()}"
        if self.platform and self.platform == here:
            return True
        return any(_exists(pattern) for pattern in self.paths)


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend's folder and what its `backend.toml` says, key by key as `KEYS` describes it."""

    folder: Path
    title: str
    torch_backend: str = ""
    python: tuple[str, ...] = ()
    platforms: tuple[str, ...] = PLATFORMS
    start_method: str = "forkserver"
    worker: str = "cell"
    environment: Mapping[str, str] = field(default_factory=dict)
    interpose: str = ""  # `harness.workers.ld_preload`
    preload: tuple[str, ...] = ()
    preload_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    snapshot: bool = False
    faults: tuple[str, ...] = ()
    models: str = ""
    heads: str = "all"
    hardware: Hardware | None = None

    @property
    def name(self) -> str:
        """The session's name: `torch-cpu` for the folder `torch_cpu`."""
        return session_name(self.folder.name)

    @property
    def expectations(self) -> Path:
        """Its `expectations.toml`."""
        return self.folder / "expectations.toml"

    @property
    def lock(self) -> Path:
        """Its compiled pins."""
        return self.folder / "requirements.txt"

    @property
    def install(self) -> str:
        """The commands that install what it needs."""
        if self.folder.parent == BACKENDS:
            return f"`nox -s {self.name}`, or `python -m pip install -r {_relative(self.lock)}`"
        return f"`python -m pip install -r {_relative(self.lock)}`"

    def missing_platform(self) -> Unavailable | None:
        """Why its packages can't be on this machine at all."""
        if sys.platform in self.platforms:
            return None
        return Unavailable(
            f"{self.title} runs on {', '.join(self.platforms)}, and this is {sys.platform}.",
            f"run it on {' or '.join(self.platforms)}.",
        )

    def missing_hardware(self) -> Unavailable | None:
        """Why this machine can't have the device, as far as that is seen without the SDK."""
        elsewhere = self.missing_platform()
        if elsewhere is not None:
            return elsewhere
        if self.hardware is not None and not self.hardware.present():
            found = self.hardware.found or "its hardware"
            return Unavailable(
                f"{self.title} needs {found}, and this machine shows none "
                f"({', '.join(self.hardware.paths) or self.hardware.platform}).",
                self.hardware.fix or "run it on a machine that has it.",
            )
        return None


def session_name(folder: str) -> str:
    """`torch-cpu` for `torch_cpu`."""
    return folder.replace("_", "-")


def discover(root: Path = BACKENDS) -> dict[str, BackendSpec]:
    """The backends under `root` by session name: each folder with a `backend.toml`.

    Raises:
        HarnessError: a `backend.toml` is broken.
    """
    return {session_name(folder.name): read(folder) for folder in _folders(root)}


def find(name: str, root: Path = BACKENDS) -> BackendSpec:
    """The backend of that name; `torch_cpu` and `Torch-CPU` mean `torch-cpu`.

    Raises:
        HarnessError: there is none, or its `backend.toml` is broken.
    """
    folders = {session_name(folder.name): folder for folder in _folders(root)}
    wanted = session_name(name.strip().lower())
    if wanted in folders:
        return read(folders[wanted])
    if not folders:
        raise HarnessError(
            f"expected backends in {root}, found no folder with a backend.toml. "
            "Fix: run from a checkout of this repository"
        )
    raise HarnessError(
        f"expected one of {', '.join(folders)}, found {name!r}.{did_you_mean(wanted, folders)} "
        "Fix: `nox -l` shows the backends"
    )


def read(folder: Path) -> BackendSpec:
    """Read and check a folder's `backend.toml`.

    Raises:
        HarnessError: it is no TOML, lacks its title, or has an unknown or ill-typed key.
    """
    path = folder / "backend.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HarnessError(f"{path}: expected TOML, found: {error}. Fix: correct it") from error
    _check(path, data, KEYS)
    if "title" not in data:
        raise HarnessError(f'{path}: expected a title, found none. Fix: add `title = "..."`')
    interposed = data.get("interpose")
    if interposed and not (folder / interposed).is_file():
        raise HarnessError(
            f"{path}: expected interpose to name a C file in {folder}, found {interposed!r}. "
            "Fix: add the file, or remove the line"
        )
    values = _tuples(data)
    values.pop("runs_on", None)
    if "preload_for" in data:
        values["preload_for"] = _tuples(data["preload_for"])
    if "hardware" in data:
        values["hardware"] = Hardware(**_tuples(data["hardware"]))
    return BackendSpec(folder=folder.resolve(), **values)


def load(spec: BackendSpec, options: Mapping[str, str]) -> Backend:
    """Import a backend's `backend.py` and open its `Backend`.

    The folder above is put on the module path, so that the backend is the module
    `backends.torch_cpu.backend` and can import `backends._shared.torch.backend`.

    Raises:
        HarnessError: a package that it imports is missing, or it exports no `Backend`.
        Unavailable: as its constructor raises it.
    """
    source = spec.folder / "backend.py"
    above, package = spec.folder.parent.parent, spec.folder.parent.name
    if not source.is_file():
        raise HarnessError(f"expected {source}, found no such file. Fix: add it")
    if str(above) not in sys.path:
        sys.path.insert(0, str(above))
    name = f"{package}.{spec.folder.name}.backend"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or "a package"
        if missing.split(".")[0] in {package, "harness"}:
            raise
        raise HarnessError(
            f"backend {spec.name} expected the package {missing}, found none in this environment "
            f"({sys.prefix}). Fix: {spec.install}"
        ) from error
    if Path(module.__file__ or "").resolve() != source.resolve():
        raise HarnessError(
            f"expected {source} as the module {name}, found {module.__file__}. "
            "Fix: start from the folder that the backends belong to"
        )
    backend_class = getattr(module, "Backend", None)
    if backend_class is None:
        raise HarnessError(
            f"{source}: expected a class `Backend(options)`, found none. Fix: add it"
        )
    backend: Backend = backend_class(options)
    return backend


def _folders(root: Path) -> list[Path]:
    try:
        folders = sorted(root.iterdir())
    except OSError as error:
        raise HarnessError(
            f"expected a folder of backends, found: {error}. Fix: name one with --backends-dir"
        ) from error
    return [
        folder
        for folder in folders
        if not folder.name.startswith(("_", ".")) and (folder / "backend.toml").is_file()
    ]


def _check(path: Path, data: Mapping[str, Any], keys: Mapping[str, Key], prefix: str = "") -> None:
    for name, value in data.items():
        if name not in keys:
            raise HarnessError(
                f"{path}: expected one of {', '.join(keys)}, found the key `{prefix + name}`."
                f"{did_you_mean(name, keys)} Fix: rename or drop it"
            )
        key = keys[name]
        if not key.holds(value):
            raise HarnessError(
                f"{path}: expected {prefix + name} to be {key.kind}, found {value!r}. "
                "Fix: correct it"
            )
        if key.kind == STRING and key.choices and value not in key.choices:
            raise HarnessError(
                f"{path}: expected {prefix + name} to be one of {', '.join(key.choices)}, found "
                f"{value!r}. Fix: choose one of them"
            )
        if key.keys:
            inner = dict.fromkeys(value, key.keys) if isinstance(key.keys, Key) else key.keys
            _check(path, value, inner, f"{prefix}{name}.")


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _exists(pattern: str) -> bool:
    path = Path(pattern)
    return any(True for _ in Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _relative(path: Path) -> str:
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
