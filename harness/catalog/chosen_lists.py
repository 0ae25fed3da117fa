"""Choice of model lists: this project's, a file or a folder of one's own, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.catalog import model_lists
from harness.catalog.selection import ALL, Catalog
from harness.contract import HarnessError
from harness.toolkit.checkout import ROOT

#: The lists of this project.
OURS = ROOT / model_lists.FOLDER

#: Before a path: beside the lists of this project, not in their place.
BESIDE = "+"


@dataclass(frozen=True, slots=True)
class ChosenLists:
    """The model lists of a run.

    Attributes:
        path: a folder of lists, or one list.
        beside: whether this project's lists are there as well.
    """

    path: Path = OURS
    beside: bool = False

    @property
    def own(self) -> bool:
        """Whether there are lists that are not this project's."""
        return self.path != OURS

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders and files, this project's first."""
        return (OURS, self.path) if self.beside else (self.path,)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders among them, which may have expectations."""
        return tuple(path for path in self.paths if path.is_dir())

    def catalog(self) -> Catalog:
        """The lists, read and checked.

        Raises:
            HarnessError: one of them is missing or wrong.
        """
        if not self.path.exists():
            raise HarnessError(
                f"expected --lists to name a list or a folder of lists, found {str(self.path)!r}, "
                "which is not there. Fix: correct it; +PATH adds it to this project's lists"
            )
        return model_lists.read(*self.paths)

    def models(self, catalog: Catalog, usual: str) -> list[str]:
        """The names of the entries that run where none are asked for, in the order of the lists.

        Args:
            catalog: of these lists.
            usual: those of this project that the backend runs; empty for all.
        """
        usual = self.usual(catalog, usual)
        if self.own and not self.beside:
            return [entry.name for entry in catalog.select(usual or ALL)]
        own = self.own_names(catalog)
        ours = [entry.name for entry in catalog.select(usual or ALL) if entry.name not in own]
        return [*ours, *(name for name in catalog.entries if name in own)]

    def usual(self, catalog: Catalog, usual: str) -> str:
        """Entries that run where nothing is asked for, as `--models` takes them; empty: all.

        Args:
            catalog: of these lists.
            usual: what its `backend.toml` says. `smoke` is a subset of this project's lists, which
                lists of one's own lack: all of those are meant then.
        """
        if not self.own or self.beside or not usual:
            return usual
        try:
            catalog.select(usual)
        except HarnessError:
            return ""
        return usual

    def own_names(self, catalog: Catalog) -> frozenset[str]:
        """The entries of a catalog that are not this project's."""
        if not self.own:
            return frozenset()
        return frozenset(
            name
            for name, file in catalog.files.items()
            if not self.beside or not file.is_relative_to(OURS)
        )

    def __str__(self) -> str:
        """The value of `--lists` that chooses them."""
        return f"{BESIDE if self.beside else ''}{self.path}"


def chosen(text: str) -> ChosenLists:
    """The lists that a value of `--lists` names.

    Args:
        text: a path, after a `+` where this project's lists are meant as well.
    """
    found = Path(text.removeprefix(BESIDE)).resolve()
    return ChosenLists(found, beside=text.startswith(BESIDE) and found != OURS)
