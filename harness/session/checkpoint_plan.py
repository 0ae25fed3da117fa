"""Plan of a run's checkpoints: what each entry needs from the hub, the smallest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog import checkpoints
from harness.catalog.hub import download, errors, repository
from harness.catalog.hub.repository import RemoteFile, Repository
from harness.contract import Entry, HarnessError, TooLarge
from harness.models import room
from harness.session.pretrained import Pretrained
from harness.toolkit.process_memory import MB

#: Bytes of a parameter that a checkpoint stores in float32: the fewest parameters that it can have.
STORED_BYTES = 4


@dataclass(frozen=True, slots=True)
class Planned:
    """One checkpoint, and the entries that use it.

    Attributes:
        name: the repository, or empty for entries that name none.
        entries: by name.
        repository: its files; None where there is a problem.
        problem: why it cannot be had, with what to do about it; else empty.
        too_large: whether that is because memory does not hold the model.
    """

    name: str
    entries: tuple[str, ...]
    repository: Repository | None = None
    problem: str = ""
    too_large: bool = False

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return self.repository.size if self.repository is not None else 0


def plan(
    entries: Iterable[Entry], settings: Pretrained, cache: Path, memory_mb: int
) -> list[Planned]:
    """The checkpoints of entries: those with a problem, then the others, the smallest first.

    Args:
        entries: to be run.
        settings: of `--weights pretrained`.
        cache: the folder of the hub's cache.
        memory_mb: that one cell may add.

    Raises:
        HarnessError: this environment lacks `huggingface_hub`.
        HubUnreachable: the hub does not answer.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        alike.setdefault((entry.checkpoint, entry.revision), []).append(entry.name)
    found = [
        _planned(name, revision, tuple(names), settings, cache, memory_mb)
        for (name, revision), names in alike.items()
    ]
    return sorted(found, key=lambda planned: (planned.size, planned.name))


def cache_folder() -> Path:
    """The hub's cache.

    Raises:
        HarnessError: this environment lacks `huggingface_hub`.
    """
    try:
        return download.cache_folder()
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise HarnessError(
            "expected huggingface_hub in this environment, found none: the backend builds no real "
            "models. Fix: leave out --weights pretrained, or run another backend"
        ) from None


def _planned(
    name: str,
    revision: str,
    entries: tuple[str, ...],
    settings: Pretrained,
    cache: Path,
    memory_mb: int,
) -> Planned:
    if not name:
        return Planned(name, entries)  # its cells are absent, and say so
    try:
        found = _in_cache(name, revision, cache) if _offline() else None
        if found is None:
            found = repository.look_up(
                name, revision, pickled=settings.pickled, code=settings.trusted
            )
        _check_memory(found, memory_mb)
    except errors.HubUnreachable:
        raise
    except TooLarge as error:
        return Planned(name, entries, problem=str(error), too_large=True)
    except HarnessError as error:
        return Planned(name, entries, problem=str(error))
    return Planned(name, entries, found)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _in_cache(name: str, revision: str, cache: Path) -> Repository:
    """A repository as the cache has it, where nothing may be downloaded."""
    folder = checkpoints.find(cache, name, revision)
    if folder is None:
        raise errors.offline(name)
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return Repository(
        name, folder.name, tuple(RemoteFile(path.name, path.stat().st_size) for path in files)
    )


def _check_memory(found: Repository, memory_mb: int) -> None:
    """Refuse a model that does not fit into a cell's memory.

    Raises:
        TooLarge: it does not; says with which option it would.
    """
    known = found.parameters
    count = known if known is not None else found.size // STORED_BYTES
    needed = room.of_parameters(count).needed("float32") // MB + 1
    if needed > memory_mb:
        least = "" if known is not None else "at least "
        raise TooLarge(
            f"expected room in memory for {found.name}: its {least}{count / 1e6:.0f} million "
            f"parameters in float32, and a reference in float32 beside them, are {needed} MB; a "
            f"cell may take {memory_mb} MB. Fix: --memory {needed} -n 1, on a machine that has so "
            "much"
        )


def entry_order(planned: Sequence[Planned]) -> dict[str, int]:
    """The place of each entry in a plan, by name."""
    names = [name for item in planned for name in item.entries]
    return {name: place for place, name in enumerate(names)}
