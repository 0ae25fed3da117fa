"""File of durations for `--durations-file`: by which all shards of a run split its entries alike.

    [torch-cpu.default]
    bert = 0.41
    "bert:fill-mask" = 0.5

`python -m harness durations` writes one. It lies in the repository, or comes to all shards from one
job: a shard that had another file would split otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.contract import BASE, label
from harness.session.cell_name import CellName
from harness.toolkit import toml_text
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import NUMBER, TABLE, Key

#: Significant digits of the seconds: more would only change with each run.
DIGITS = 2

HEADER = (
    "# Seconds of each cell, by backend and precision, by which `--durations-file` splits shards.\n"
    "# `python -m harness durations --output FILE` writes it from the last results.\n"
)


@dataclass(frozen=True, slots=True)
class DurationsFile:
    """A file of durations that was read.

    Attributes:
        path: of the file.
        digest: eight hexadecimal digits, the same for each shard of one run.
        seconds: of each cell of one backend, by (entry, head, precision).
    """

    path: Path
    digest: str
    seconds: Mapping[CellName, float]


def read(path: Path, backend: str) -> DurationsFile:
    """The durations of one backend's cells.

    Args:
        path: of the file.
        backend: its name; a file that does not have it holds no durations of it.

    Raises:
        HarnessError: the file is missing or wrong. A shard that went on without it would split
            otherwise than the shards that have it.
    """
    file = TomlFile(path)
    declared = Key("Seconds of each cell, by precision", TABLE, keys=Key("Seconds", NUMBER))
    for name, table in file.tables.items():
        known = dict.fromkeys(table, declared) if isinstance(table, dict) else {}
        file.check_table(name, table, known)
        for precision, cells in table.items():
            for cell, seconds in cells.items():
                if seconds < 0:
                    key = f"{precision}.{cell}"
                    raise file.error(name, key, "seconds of at least 0", seconds, "correct it")
    digest = hashlib.sha256(file.text.encode()).hexdigest()[:8]
    found = {
        _name(cell, precision): float(seconds)
        for precision, cells in file.tables.get(backend, {}).items()
        for cell, seconds in cells.items()
    }
    return DurationsFile(path, digest, found)


def text(seconds: Mapping[tuple[str, str], Mapping[CellName, float]]) -> str:
    """The content of a file of durations.

    Args:
        seconds: of cells, by (backend, precision).
    """
    lines = [HEADER]
    for (backend, precision), cells in sorted(seconds.items()):
        lines.append(f"[{toml_text.key(backend)}.{toml_text.key(precision)}]")
        named = sorted((label(name[0], name[1]), taken) for name, taken in cells.items())
        lines += [f"{toml_text.key(name)} = {taken:.{DIGITS}g}" for name, taken in named]
        lines.append("")
    return "\n".join(lines)


def _name(cell: str, precision: str) -> CellName:
    entry, _, head = cell.partition(":")
    return entry, head or BASE, precision
