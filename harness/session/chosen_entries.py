"""Entries of a run: those that the options name, and of these those of this shard."""

from __future__ import annotations

from collections.abc import Mapping

from harness.catalog import policy, selection
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.selection import Catalog
from harness.contract import BASE
from harness.session import durations_file
from harness.session.cell_name import CellName
from harness.session.durations_file import DurationsFile
from harness.session.option_checks import TASKS
from harness.session.options import Options, comma_separated
from harness.session.shards import parts


class ChosenEntries:
    """The entries that a run is about.

    Args:
        options: of the run.
        spec: the backend's folder.
        catalog: the model lists.

    Attributes:
        usual: the names of the entries that the backend's pins are meant to have.
        named: the names of the entries that the options select.
        of_shard: of those, the ones of this shard.
        durations: the file by which shards are split; None where they are split by count.

    Raises:
        HarnessError: an option names what is not there, or the file of durations is wrong.
    """

    def __init__(self, options: Options, spec: BackendSpec, catalog: Catalog) -> None:
        self._options = options
        self._spec = spec
        self.usual = options.lists.models(catalog, spec.models)
        named = names_of(catalog, options.models) if options.models else self.usual
        if options.pretrained is not None and options.pretrained.policy:
            wanted = {entry.name for entry in policy.chosen(list(catalog.entries.values()))}
            named = [name for name in named if name in wanted]
        self.named = frozenset(named)
        path = options.durations
        self.durations: DurationsFile | None = (
            durations_file.read(path, spec.name) if path is not None else None
        )
        number, count = options.shard
        entries = [catalog.entries[name] for name in named]
        self.of_shard = frozenset(parts(entries, self._seconds(), count)[number - 1])

    def has_head(self, head: str) -> bool:
        """Whether the options select a head, or the headless models."""
        chosen = frozenset(comma_separated(self._options.heads or self._spec.heads))
        return bool(chosen & {selection.ALL, head, BASE if head == BASE else TASKS})

    @property
    def recorded(self) -> Mapping[CellName, float]:
        """Seconds of cells in the file of durations."""
        return self.durations.seconds if self.durations is not None else {}

    def _seconds(self) -> dict[str, float]:
        """Seconds of all cells of each entry, as far as the file of durations has them."""
        found: dict[str, float] = {}
        for (name, head, precision), taken in self.recorded.items():
            if self.has_head(head) and {precision, "all"} & set(self._options.precisions):
                found[name] = found.get(name, 0.0) + taken
        return found


def names_of(catalog: Catalog, models: str) -> list[str]:
    """The names of the entries that `--models` selects, in the order of the lists; empty: all."""
    return [entry.name for entry in catalog.select(models or selection.ALL)]
