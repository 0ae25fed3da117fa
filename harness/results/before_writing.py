"""Check of a results file before it is written to: what is damaged is set aside, whole."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from harness.contract import HarnessError
from harness.results import log, schema, set_aside
from harness.results.reader import Reader, Reading, holder


def check(path: Path) -> str:
    """Read a file from end to end; returns what a person must know, empty where that is nothing.

    A damaged file is set aside. Of one whose log is torn, a copy is.

    Raises:
        HarnessError: it is in use, of another schema, or no file.
        OSError: it could not be set aside.
    """
    found = set_aside.parts(path)
    if not found:
        return ""
    if path not in found:
        where = set_aside.set_aside(path)
        return (
            f"{path}: expected a results file with the log {found[0].name}, found the log alone. "
            f"It was set aside in {where.parent}, and this run goes to a new file"
        )
    with Reader() as reader:
        reading = reader.read(path, clean=None)
    if reading.kind == "schema":
        raise HarnessError(other_schema(path, reading.text))
    if reading.kind in ("locked", "forbidden", "irregular", "interrupted"):
        raise HarnessError(cannot_use(path, reading))
    if reading.kind:
        where = set_aside.set_aside(path)
        return (
            f"{path}: expected results that can be read, found a file that is truncated, damaged "
            f"or something else: {reading.text.rstrip('.')}. It was set aside whole as {where}, "
            "and this run goes to a new file. Earlier results are in the report again once a copy "
            "of the file lies in its place"
        )
    torn = log.torn(path.with_name(f"{path.name}.wal"))
    if not torn:
        return ""
    folder = set_aside.new_folder(path)
    for part in found:
        shutil.copy2(part, folder / part.name)
    return (
        f"{path}: expected a whole log, found one whose last {torn} bytes are cut short, as after "
        "a full disk or a power cut. What is before them is kept. Cells that were stored in them "
        f"are lost to DuckDB; a copy of file and log as they were is in {folder}"
    )


def other_schema(path: Path, found: str) -> str:
    """The message for a file of another schema, found as `schema 7`."""
    version = int(found.removeprefix("schema "))
    expected = f"{path}: expected schema {schema.SCHEMA_VERSION}, found {version or 'none'}"
    if version > schema.SCHEMA_VERSION:
        return (
            f"{expected}: a newer harness wrote it. "
            "Fix: update this checkout (`git pull`), or write elsewhere with `--results DIR`"
        )
    return (
        f"{expected}, which this harness cannot bring up to date; it was left as it is. Fix: "
        f"`python -m harness set-aside {shlex.quote(str(path))}` moves it away with its log, or "
        "write elsewhere with `--results DIR`"
    )


def cannot_use(path: Path, reading: Reading) -> str:
    """The message for a file that is in use, unreadable or no file."""
    if reading.kind == "locked":
        who = holder(reading.text)
        look = f" (see it with `ps -p {who.split()[-1]}`)" if who.startswith("process") else ""
        return (
            f"{path}: expected to be its one writer, found it open in {who}{look}. "
            "Fix: wait for it or end it, or write elsewhere with `--results DIR`"
        )
    if reading.kind == "interrupted":
        return f"{path} could not be checked: {reading.text}. It is as it was. Fix: run again"
    return (
        f"{path} cannot be opened for writing: {reading.text}. Fix: "
        f"{'make it readable and writable' if reading.kind == 'forbidden' else 'move it away'}, "
        "or choose another folder with `--results DIR`"
    )
