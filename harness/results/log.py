"""Write-ahead log of a DuckDB file, as far as its bytes tell whether its end is torn off.

DuckDB replays a log up to the first entry that reaches beyond the end of the file, and takes what
follows for a write that was cut short. It says nothing, and deletes the log afterwards. Such an end
may be one that never was committed (a killed process), or committed rows (a damaged disk, a copy
that was cut short).
"""

from __future__ import annotations

import struct
from pathlib import Path

#: The head of the log is a record of its own, which ends with this field number; then come entries.
_END_OF_HEAD = b"\xff\xff"

#: Version of the format, in the head, whose entries begin with their size and checksum.
_VERSION = b"\x64\x00\x62\x65\x00\x02"

_ENTRY = struct.Struct("<QQ")


def torn(path: Path) -> int:
    """How many bytes at the end of a log belong to no whole entry; 0 where all do.

    Args:
        path: of the log, such as `NAME.duckdb.wal`; it need not exist.

    Raises:
        OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    if not data.startswith(_VERSION):
        return 0  # empty, or damaged so that DuckDB refuses it
    at = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    while at + _ENTRY.size <= len(data):
        size, _ = _ENTRY.unpack_from(data, at)
        if at + _ENTRY.size + size > len(data):
            break
        at += _ENTRY.size + size
    return len(data) - at
