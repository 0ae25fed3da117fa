"""Registry of backends: folders of `backends/`, and entry points, found by name and opened.

Finding a backend imports nothing of it. Only `load` imports its `backend.py`, in a child process.
Entry points of other distributions stand beside the backends of this project, and not beside those
of a folder that somebody names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

from harness.catalog.backend_spec import BACKENDS, BackendSpec, session_name
from harness.catalog.backend_toml import read
from harness.catalog.entry_points import named, read_entry
from harness.contract import Backend, HarnessError
from harness.toolkit.checkout import shown_path
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.public_name import OWN, PUBLIC


def discover(
    root: Path = BACKENDS, left_out: list[HarnessError] | None = None
) -> dict[str, BackendSpec]:
    """The backends by session name: each folder of `root` with a `backend.toml`.

    Beside this project's there are those of entry points.

    Args:
        root: the folder of backends.
        left_out: takes what is wrong with entry points, whose backends are left out then: one
            distribution's fault is not to hide the backends of all others.

    Raises:
        HarnessError: a `backend.toml` is broken, or, without `left_out`, an entry point.
    """
    found = {session_name(folder.name): read(folder) for folder in _folders(root)}
    ours = ", ".join(found)
    for name, entry in _entry_points(root).items():
        try:
            if name in found and isinstance(entry, EntryPoint):
                raise HarnessError(
                    f"expected an entry point called otherwise than {ours}, found {name} = "
                    f"{entry.value}. Fix: rename its folder and entry point"
                )
            found[name] = read_entry(entry)
        except HarnessError as error:
            _leave_out(error, left_out)
    return found


def find(name: str, root: Path = BACKENDS) -> BackendSpec:
    """The backend of that name; `torch_cpu` and `Torch-CPU` mean `torch-cpu`.

    Raises:
        HarnessError: there is none, or its `backend.toml` or entry point is broken.
    """
    folders = {session_name(folder.name): folder for folder in _folders(root)}
    wanted = session_name(name.strip().lower())
    if wanted in folders:
        return read(folders[wanted])
    entries = _entry_points(root)
    if wanted in entries:
        return read_entry(entries[wanted])
    if not folders:
        raise HarnessError(
            f"expected backends in {root}, found no folder with a backend.toml. "
            "Fix: name a folder of such folders with --backends-dir"
        )
    known = [*folders, *entries]
    raise HarnessError(
        f"expected one of {', '.join(known)}, found {name!r}.{did_you_mean(wanted, known)} "
        "Fix: `python -m harness devices` shows the backends; --backends-dir DIR names a folder of "
        "others"
    )


def load(spec: BackendSpec, options: Mapping[str, str]) -> Backend:
    """Import a backend's `backend.py` and open its `Backend`.

    The folder above its package is put on the module path, so that the backend is the module
    `backends.torch_cpu.backend` and can import `backends._shared.torch.backend`.

    Raises:
        HarnessError: a package that it imports is missing, or it exports no `Backend`.
        Unavailable: as its constructor raises it.
    """
    source = spec.folder / "backend.py"
    if not source.is_file():
        raise HarnessError(f"expected {source}, found no such file. Fix: add it")
    if str(spec.above) not in sys.path:
        sys.path.insert(0, str(spec.above))
    name = f"{spec.package}.backend"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or "a package"
        if missing.split(".")[0] in {name.split(".")[0], OWN, PUBLIC}:
            raise
        raise HarnessError(
            f"backend {spec.name} expected the package {missing}, found none in this environment "
            f"({sys.prefix}). Fix: {spec.install}{_added_to_pins(spec, missing)}"
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


def _leave_out(error: HarnessError, left_out: list[HarnessError] | None) -> None:
    if left_out is None:
        raise error
    left_out.append(error)


def _added_to_pins(spec: BackendSpec, module: str) -> str:
    """How a package gets into a backend's pins, where their text has no word of it."""
    if not spec.lock.is_file():
        return ""
    name = module.partition(".")[0].replace("_", "-").lower()
    text = spec.lock.read_text(encoding="utf-8", errors="replace").lower()
    if name in text.replace("_", "-"):
        return ""
    asked = shown_path(spec.folder / "requirements.in")
    return f"; if the pins lack it, add it to {asked}, then `nox -s lock -- {spec.name}`"


def _entry_points(root: Path) -> dict[str, EntryPoint | HarnessError]:
    return named() if root == BACKENDS else {}


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
