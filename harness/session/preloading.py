"""Preloading for a run: the modules that the fork server imports for its backend and entries."""

from __future__ import annotations

from collections.abc import Iterable

from harness.catalog.backend_spec import BackendSpec
from harness.contract import Entry

#: Modules that the fork server imports for every backend.
ALWAYS = ("harness.cell.stages",)

#: Module that imports the code of architectures. A backend that builds real models, such as
#: torch-cpu, names it in its `preload`; each selected architecture is then preloaded too.
ARCHITECTURES = "harness.models.preload"

#: Module that looks at all that was imported, and so comes last.
USED_CODE = "harness.cell.used_code"


def preloaded_modules(
    spec: BackendSpec, precisions: Iterable[str], entries: Iterable[Entry]
) -> tuple[str, ...]:
    """The modules to import, as `module` or `module:argument` (`harness.workers.preload`).

    Args:
        spec: the backend's, with its `preload` and `preload_for`.
        precisions: those to run, by name; some modules are for one of them alone.
        entries: those to run.
    """
    chosen = set(precisions)
    for_precisions = (
        module
        for precision, modules in spec.preload_for.items()
        if {precision, "all"} & chosen
        for module in modules
    )
    architectures: set[str] = set()
    if ARCHITECTURES in spec.preload:
        architectures = {f"{ARCHITECTURES}:{e.library}/{e.architecture}" for e in entries}
    last = f"{USED_CODE}:{spec.folder}"
    return (*spec.preload, *for_precisions, *ALWAYS, *sorted(architectures), last)
