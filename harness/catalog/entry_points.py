"""Backends of other distributions: entry points of the group `hf_hardware_matrix.backends`.

A vendor's package holds a backend's folder (`backend.toml`, `backend.py` and the others) as a
package with data, and names it in its pyproject.toml:

    [project.entry-points."hf_hardware_matrix.backends"]
    acme_npu = "acme_matrix.acme_npu"

Nothing of the folder is imported to find it; the packages above it are.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec, session_name
from harness.catalog.backend_toml import read
from harness.contract import VERSION, HarnessError
from harness.toolkit.public_name import PUBLIC

#: The group of entry points.
GROUP = f"{PUBLIC}.backends"


def named() -> dict[str, EntryPoint | HarnessError]:
    """The entry points of all distributions in this environment, by the session's name.

    Where two distributions have a backend of one name it stands for neither, but for an error that
    says so: whoever reads that entry raises it (`read_entry`).
    """
    found: dict[str, EntryPoint | HarnessError] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        name = session_name(entry.name)
        other = found.setdefault(name, entry)
        if isinstance(other, EntryPoint) and other.value != entry.value:
            found[name] = HarnessError(
                f"expected one backend called {name}, found one in {_distribution(other)} and one "
                f"in {_distribution(entry)}. Fix: `python -m pip uninstall` either"
            )
    return found


def distribution_of(spec: BackendSpec) -> str:
    """The distribution that has an entry point for a backend; empty where a folder is named."""
    entry = named().get(spec.name)
    if not isinstance(entry, EntryPoint) or entry.value != spec.package or entry.dist is None:
        return ""
    return entry.dist.name


def read_entry(entry: EntryPoint | HarnessError) -> BackendSpec:
    """The backend that an entry point names.

    Args:
        entry: of `named`.

    Raises:
        HarnessError: two distributions have a backend of that name, the package or its
            `backend.toml` is missing or wrong, or the backend is written for another version of
            the contract.
    """
    if isinstance(entry, HarnessError):
        raise entry
    folder = _folder(entry)
    spec = read(folder)
    where = f"{_distribution(entry)}: entry point {entry.name}"
    if spec.name != session_name(entry.name):
        raise HarnessError(
            f"{where}: expected the name of the folder, {folder.name}, found {entry.name!r}. "
            f'Fix: {folder.name} = "{entry.value}" in its pyproject.toml'
        )
    if spec.package != entry.value:
        raise HarnessError(
            f"{where}: expected the packages above {entry.value} to be ordinary ones, found that "
            f"{spec.above} has no __init__.py. Fix: add it"
        )
    if spec.contract != VERSION:
        said = f"contract = {spec.contract}" if spec.contract else "no contract"
        newer = spec.contract > VERSION
        fix = (
            "`python -m pip install --upgrade hf-hardware-matrix`"
            if newer
            else f"a newer version of {_distribution(entry)}; its authors write contract = "
            f"{VERSION} once `check-backend` passes"
        )
        raise HarnessError(
            f"{where}: expected a backend for version {VERSION} of the contract, found {said} in "
            f"{folder / 'backend.toml'}. Fix: {fix}"
        )
    return spec


def _folder(entry: EntryPoint) -> Path:
    """The folder of the package that an entry point names."""
    where = f"{_distribution(entry)}: entry point {entry.name}"
    try:
        found = importlib.util.find_spec(entry.value)
    except Exception as error:  # of a package above, which is imported
        raise HarnessError(
            f"{where}: expected the package {entry.value}, found {type(error).__name__}: {error}. "
            f"Fix: install {_distribution(entry)} again, or correct its pyproject.toml"
        ) from error
    places = list(found.submodule_search_locations or ()) if found else []
    folders = [Path(place) for place in places if Path(place, "backend.toml").is_file()]
    if not folders:
        raise HarnessError(
            f"{where}: expected a package {entry.value} with a backend.toml in it, found "
            f"{', '.join(places) or 'none'}. Fix: name the package of the backend's folder, and "
            "have the distribution include backend.toml"
        )
    return folders[0]


def _distribution(entry: EntryPoint) -> str:
    """The distribution that an entry point is of, for a message."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a distribution"
