"""Expectations of a run: read for its lists, and rewritten for the cells that ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.catalog import model_lists
from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.catalog.selection import Catalog
from harness.cell.request import SEED, TINY
from harness.contract import CellResult, HarnessError
from harness.results import expectations_file, expectations_update
from harness.results.expectations import Expectations
from harness.session.options import Options
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.checkout import is_installed


def known_failures(
    spec: BackendSpec, options: Options, catalog: Catalog, usual: Sequence[str]
) -> Expectations:
    """The expectations of the backend, and the faults of the libraries, for the chosen lists.

    Args:
        spec: the backend's folder.
        options: with the chosen lists.
        catalog: of these lists.
        usual: the names of the entries that the backend's pins are meant to have.

    Raises:
        HarnessError: a file of expectations is wrong.
    """
    lists = options.lists
    alone = lists.own and not lists.beside
    found = expectations_file.load(
        spec.expectations,
        catalog,
        others=(lambda: model_lists.load().entries) if alone else tuple,
    )
    shared = [expectations_file.load_library(path, catalog) for path in lists.folders]
    return replace(
        found,
        rows=() if alone and is_foreign(spec, options, catalog) else found.rows,
        library=tuple(row for each in shared for row in each.rows),
        checks_library=spec.checkpoints,
        promised=usual,
        checks=options.checks,
        must_show=options.size_of_models == TINY and options.seed == SEED,
    )


def is_foreign(spec: BackendSpec, options: Options, catalog: Catalog) -> bool:
    """Whether the backend's expectations are about other entries than those of the lists."""
    return bool(options.lists.own_names(catalog)) and spec.folder.parent == BACKENDS


def check_rewritable(spec: BackendSpec, options: Options, fallback: str, *, foreign: bool) -> None:
    """Refuse to rewrite expectations from a run that says nothing of the backend as it is.

    Args:
        spec: the backend's folder.
        options: of the run.
        fallback: the stand-in for a missing device; empty where there is none.
        foreign: whether the backend's expectations are about other entries.

    Raises:
        HarnessError: the cells ran on a fallback, with injected faults, with other packages or
            from other lists, or the backend is an installed package.
    """
    name = spec.expectations.name
    faults = options.backend_options.get("fault", "")
    if fallback:
        raise HarnessError(
            f"expected results of the device for {name}, found those of the fallback "
            f"{fallback}; it is as it was. Fix: --update-expectations without --fallback"
        )
    if faults:
        raise HarnessError(
            f"expected results of the backend as it is for {name}, found those with "
            f"--fault {faults}; it is as it was. Fix: --update-expectations without "
            "--fault"
        )
    if is_installed(spec.expectations):
        raise HarnessError(
            f"expected a backend in a folder that people edit, found one of an installed "
            f"package, {spec.folder}; its {name} is as it was. Fix: for a backend of "
            "your own, `python -m pip install -e` its repository; for others, an "
            "expectations.toml in the folder of your lists, by hand"
        )
    if options.instead:
        raise HarnessError(
            f"expected results of the pins for {name}, found those with "
            f"{', '.join(options.instead)}; it is as it was. Fix: --update-expectations "
            "without --with, once the pins have it"
        )
    if foreign:
        raise HarnessError(
            f"expected results of this project's lists for {name}, found those with "
            f"--lists {options.lists}; it is as it was. Fix: --update-expectations "
            "without --lists, or expectations.toml in the folder of your lists by hand"
        )


def rewrite(expectations: Expectations, spec: BackendSpec, results: Sequence[CellResult]) -> bool:
    """Rewrite the backend's `expectations.toml` for the cells that ran.

    Returns:
        Whether that changed the file.

    Raises:
        HarnessError: the file cannot be written. It is then as it was.
    """
    path = spec.expectations
    text = expectations_update.updated(expectations, results)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    try:
        write_atomically(path, text)
    except OSError as error:
        raise HarnessError(
            f"{path} could not be written: {error}; it is as it was. "
            "Fix: make it writable, and room on its disk"
        ) from error
    return True
