"""Selection of entries: by name, alias, family or subset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.contract import FAMILIES, Entry, HarnessError
from harness.toolkit.close_matches import did_you_mean, normalise

#: Selects every entry.
ALL = "all"


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """A name that is asked for and that nobody can run."""

    name: str
    kind: str  # one of KINDS
    reason: str
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """All model lists, read and checked.

    Attributes:
        entries: entry name -> entry, by list file, then as written.
        unavailable: name -> why nobody can run it.
        subsets: subset name -> the names of its entries.
        files: entry name -> the list that it stands in.
    """

    entries: Mapping[str, Entry]
    unavailable: Mapping[str, UnavailableModel]
    subsets: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Path]
    _spellings: Mapping[str, str] = field(repr=False)  # normalised -> entry name

    def select(self, spec: str) -> list[Entry]:
        """The entries that `spec` names, each once, in the order of the lists.

        Args:
            spec: subsets, families, entry names or aliases, separated by commas, or `all`; case
                and the characters `-_./` and space make no difference. A family goes before an
                entry of the same name (`rag`, `encoder_decoder`), which it contains.

        Raises:
            HarnessError: a name that is none of these, with the closest that are.
        """
        wanted: set[str] = set()
        words = [word for word in (part.strip() for part in spec.split(",")) if word]
        if not words:
            raise HarnessError(
                f"expected subsets, families or entries separated by commas, found {spec!r}. "
                "Fix: name some, as in --models smoke,speech,bert"
            )
        for word in words:
            wanted.update(self._meant_by(word))
        return [entry for name, entry in self.entries.items() if name in wanted]

    def families(self) -> tuple[str, ...]:
        """The families that have entries, in the order of the contract."""
        held = {entry.family for entry in self.entries.values()}
        return tuple(family for family in FAMILIES if family in held)

    def _meant_by(self, word: str) -> Collection[str]:
        wanted = normalise(word)
        if wanted == ALL:
            return self.entries
        for subset, names in self.subsets.items():
            if normalise(subset) == wanted:
                return names
        for family in FAMILIES:
            if normalise(family) == wanted:
                return [name for name, entry in self.entries.items() if entry.family == family]
        if wanted in self._spellings:
            return [self._spellings[wanted]]
        for model in self.unavailable.values():
            if wanted in map(normalise, (model.name, *model.spellings)):
                raise HarnessError(
                    f"expected a model that can be run, found {word!r} ({model.kind}): "
                    f"{model.reason} Fix: leave it out of --models"
                )
        known = [*self.subsets, *FAMILIES, *self.entries]
        raise HarnessError(
            f"expected a subset, a family or an entry, found {word!r}.{did_you_mean(word, known)} "
            "Fix: `python -m harness list` shows every name"
        )
