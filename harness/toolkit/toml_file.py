"""One TOML file: read safely, checked by declarations, with errors that name file, line and fix.

Every table of the harness that people write is read here. Whatever the file holds (deep nesting,
numbers of thousands of digits, dates, another encoding), the answer is its tables or one
`HarnessError`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contract import HarnessError
from harness.toolkit.checkout import shown_path
from harness.toolkit.close_matches import did_you_mean, listed
from harness.toolkit.toml_keys import EXAMPLES, STRING, Key

#: The edit that makes a string of another value.
_QUOTES = "put it in quotes"
#: How deep tables and lists may nest; a config of a composite with its parts nests 5 deep.
DEPTH = 32
#: Characters of a found value that a message shows.
SHOWN = 80
#: The files that this process has read, or that the one which forked it had read.
_read: set[Path] = set()
#: The range of a TOML integer.
LEAST, MOST = -(2**63), 2**63 - 1


def tables_read() -> frozenset[Path]:
    """The TOML files that this process has read so far."""
    return frozenset(_read)


class TomlFile:
    """One TOML file, with the line numbers that its errors point at.

    Args:
        path: of the file.
        shown: the path in messages; by default as seen from the checkout.

    Raises:
        HarnessError: it cannot be read, is no TOML, or holds a value that no table has a use for.
    """

    def __init__(self, path: Path, shown: str = "") -> None:
        self.path = path
        _read.add(path)
        self.shown = shown or str(shown_path(path))
        try:
            if path.exists() and not path.is_file():
                raise OSError("it is no file")  # a FIFO would be waited for
            self.text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise HarnessError(
                f"{self.shown}: expected a readable UTF-8 file, found: {error}. "
                f"Fix: save it as UTF-8, or restore it with `git checkout -- {self.shown}`"
            ) from None
        if self.text.startswith("\ufeff"):
            raise HarnessError(
                f"{self.shown}:1: expected TOML, found a byte order mark. "
                "Fix: save it as UTF-8 without one"
            )
        try:
            self.tables: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            raise HarnessError(
                f"{self.shown}{':' + line.group(1) if line else ''}: expected TOML, found: "
                f"{cut(str(error))}. Fix: correct that line"
            ) from None
        except RecursionError:
            raise self._too_deep("the file") from None
        except ValueError as error:  # of `int`, for more than 4300 digits; of a date in no calendar
            raise HarnessError(
                f"{self.shown}: expected TOML, found a value that cannot be read: "
                f"{cut(str(error))}. Fix: correct or drop it"
            ) from None
        self._check_values()

    def error(
        self, table: str, key: str, expected: str, found: object, fix: str, row: int | None = None
    ) -> HarnessError:
        """The error for a key of a table.

        Args:
            table: its name; empty for the keys above all tables.
            key: its name; empty for the table itself.
            expected: what should be there.
            found: what is there.
            fix: the edit that mends it.
            row: which of several `[[table]]` it is, from 0.
        """
        header = f" [[{table}]]" if row is not None else f" [{table}]" if table else ""
        where = f"{self.shown}:{self.line(table, key, row)}:{header}"
        stop = "" if str(found).endswith(("?", ".")) else "."  # a hint asks what else was meant
        return HarnessError(f"{where} expected {expected}, found {found}{stop} Fix: {fix}")

    def check_tables(self, keys: Mapping[str, Key]) -> None:
        """Check a file whose tables are all of one kind, each under a name of its own."""
        for name, table in self.tables.items():
            self.check_table(name, table, keys)

    def check_rows(self, name: str, keys: Mapping[str, Key]) -> list[dict[str, Any]]:
        """The rows `[[name]]`, checked; none where the file has none.

        Raises:
            HarnessError: they are no rows, or a key of one is wrong.
        """
        rows = self.tables.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.error(
                name,
                "",
                f"`[[{name}]]` with two brackets",
                f"`[{name}]`" if isinstance(rows, dict) else shortened(rows),
                "double them" if isinstance(rows, dict) else f"write tables `[[{name}]]`",
            )
        for index, row in enumerate(rows):
            self.check_table(name, row, keys, index)
        return rows

    def check_top(self, keys: Mapping[str, Key]) -> None:
        """Check the keys above all tables, tables among them."""
        self.check_table("", self.tables, keys)

    def check_table(
        self, name: str, table: Any, known: Mapping[str, Key], row: int | None = None
    ) -> None:
        """Check a table's keys and their values by the keys' declarations.

        Args:
            name: of the table.
            table: what TOML says that it holds.
            known: the declarations of its keys.
            row: which of several `[[name]]` it is, from 0.

        Raises:
            HarnessError: a key is unknown or missing, or its value of another kind or no choice.
        """
        if not isinstance(table, dict):
            raise self.error(
                name, "", "tables only", f"the bare key `{name}`", f"put it below a [{name}]", row
            )
        self._check_keys(name, table, known, "", row)
        for key, declared in known.items():
            if declared.required and key not in table:
                expected = f"`{key}`"
                if declared.choices:
                    expected += f", one of {listed(declared.choices)}"
                example = (
                    f'"{declared.choices[0]}"' if declared.choices else EXAMPLES[declared.kind]
                )
                about = declared.about[:1].lower() + declared.about[1:].rstrip(".")
                fix = f"add `{key} = {example}`" + (f": {about}" if about else "")
                raise self.error(name, "", expected, "none", fix, row)

    def line(self, table: str, key: str = "", row: int | None = None) -> int:
        """The line that sets `key`, else the table's header, else the first.

        Args:
            table: its name; empty for the keys above all tables.
            key: its name; of several, joined by dots, the last one's.
            row: which of several `[[table]]` it is, from 0.
        """
        lines = self.text.split("\n")
        header = re.compile(rf"""\s*\[{{1,2}}\s*["']?{re.escape(table)}["']?\s*[\].]""")
        starts = [i for i, line in enumerate(lines) if header.match(line)] if table else [-1]
        wanted = row or 0
        if not starts:
            pattern = re.compile(rf"""\s*["']?{re.escape(table)}["']?\s*=""")
            return next((i for i, line in enumerate(lines) if pattern.match(line)), 0) + 1
        start = starts[min(wanted, len(starts) - 1)]
        if key:
            item = re.compile(rf"""\s*["']?{re.escape(key.split(".")[-1])}["']?\s*=""")
            inner = re.compile(rf"""\s*\[{{1,2}}\s*["']?{re.escape(key)}["']?\s*[\].]""")
            for index in range(start + 1, len(lines)):
                if item.match(lines[index]) or (not table and inner.match(lines[index])):
                    return index + 1
                another = lines[index].startswith("[") and table
                if another and (row is not None or not header.match(lines[index])):
                    break
        return max(start, 0) + 1

    def _check_keys(
        self, table: str, found: Any, known: Mapping[str, Key], prefix: str, row: int | None
    ) -> None:
        for key, value in found.items():
            path = prefix + key
            declared = known.get(key)
            if declared is None:
                hint = did_you_mean(key, known)
                raise self.error(
                    table,
                    path,
                    f"one of {', '.join(known)}",
                    f"the key `{cut(path)}`.{hint}",
                    "rename or drop it",
                    row,
                )
            if not declared.holds(value):
                example = f"write `{key} = {EXAMPLES[declared.kind]}`"
                raise self.error(
                    table,
                    path,
                    f"{path} to be {declared.kind}" if prefix or not table else declared.kind,
                    shortened(value),
                    _QUOTES if declared.kind == STRING else example,
                    row,
                )
            self._check_choices(table, path, value, declared, row)
            if declared.keys is not None and isinstance(value, dict):
                inner = declared.keys
                if isinstance(inner, Key):
                    inner = dict.fromkeys(value, inner)
                self._check_keys(table, value, inner, f"{path}.", row)

    def _check_choices(
        self, table: str, path: str, value: Any, declared: Key, row: int | None
    ) -> None:
        if not declared.choices:
            return
        for item in value if isinstance(value, list) else [value]:
            if item not in declared.choices:
                named = "" if table and "." not in path else f"{path} to be "
                raise self.error(
                    table,
                    path,
                    f"{named}one of {listed(declared.choices)}",
                    f"{shortened(item)}.{did_you_mean(item, declared.choices)}",
                    "choose one of them",
                    row,
                )

    def _check_values(self) -> None:
        """Refuse values that nothing has a use for, at every depth."""
        left: list[tuple[str, str, Any, int]] = [("", "", self.tables, 0)]
        while left:
            table, key, value, depth = left.pop()
            if depth > DEPTH:
                raise self._too_deep(f"`{cut(table)}`")
            if isinstance(value, dict):
                for name, item in value.items():
                    if "\0" in name:
                        raise self._useless(table, key, "a name without NUL", "one with it")
                    own = depth == 0 and isinstance(item, dict | list)
                    left.append((name, "", item, 1) if own else (table, name, item, depth + 1))
            elif isinstance(value, list):
                left += [(table, key, item, depth + 1) for item in value]
            else:
                self._check_value(table, key, value)

    def _check_value(self, table: str, key: str, value: Any) -> None:
        if isinstance(value, str):
            if "\0" in value:
                raise self._useless(table, key, "a string without NUL", "one with it")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise self._useless(table, key, "a finite number", repr(value))
        elif isinstance(value, int):
            if not LEAST <= value <= MOST:
                bits = f"one of {value.bit_length()} bits"
                raise self._useless(table, key, "a whole number of at most 64 bits", bits)
        else:
            kinds = "a string, a number, true or false, a list or a table"
            raise self._useless(table, key, kinds, f"the {type(value).__name__} {value}")

    def _useless(self, table: str, key: str, expected: str, found: str) -> HarnessError:
        return self.error(table, key, expected, found, "correct or drop it")

    def _too_deep(self, what: str) -> HarnessError:
        return HarnessError(
            f"{self.shown}: expected tables and lists at most {DEPTH} deep, found {what} to nest "
            "deeper. Fix: drop the nesting"
        )


def shortened(value: object) -> str:
    """A value as a message shows it: not longer than a line, whatever it is."""
    return cut(repr(value))


def cut(text: str) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
