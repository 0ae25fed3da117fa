"""One file of the model lists: its tables, and errors that name file, line and fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contract import HarnessError
from harness.toolkit.close_matches import did_you_mean, listed
from harness.toolkit.toml_keys import STRING, STRINGS, Key

#: The edit that corrects a value of another kind.
_FIXES = {STRING: "put it in quotes", STRINGS: 'write `{key} = ["..."]`'}


class ListFile:
    """One TOML file, with the line numbers that its errors point at."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.shown = path.relative_to(root).as_posix()
        try:
            self.text = path.read_text(encoding="utf-8")
            self.tables: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            raise HarnessError(
                f"{self.shown}{':' + line.group(1) if line else ''}: expected TOML, found: "
                f"{error}. Fix: correct that line"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise HarnessError(
                f"{self.shown}: expected a readable UTF-8 file, found: {error}. "
                "Fix: restore it with `git checkout -- model_lists`"
            ) from None

    def error(self, table: str, key: str, expected: str, found: object, fix: str) -> HarnessError:
        """The error for `key` of `table` (or for the table itself when `key` is empty)."""
        where = f"{self.shown}:{self._line(table, key)}: [{table}]"
        stop = "" if str(found).endswith(("?", ".")) else "."  # a hint asks what else was meant
        return HarnessError(f"{where} expected {expected}, found {found}{stop} Fix: {fix}")

    def check_table(self, name: str, table: Any, known: Mapping[str, Key]) -> None:
        """Check a table's keys and their values by the keys' declarations.

        Raises:
            HarnessError: a key is unknown, or its value is of another kind or no choice.
        """
        if not isinstance(table, dict):
            raise self.error(
                name, "", "tables only", f"the bare key `{name}`", f"put it below a [{name}]"
            )
        for key in table:
            if key not in known:
                raise self._unknown_key(name, key, tuple(known))
        for key, declared in known.items():
            found = table.get(key, "")
            if declared.kind == STRING and declared.choices:
                if found not in declared.choices and (declared.required or key in table):
                    raise self.error(
                        name,
                        key,
                        f"one of {listed(declared.choices)}",
                        f"{found!r}.{did_you_mean(str(found), declared.choices)}",
                        "choose one of them",
                    )
            elif key in table and declared.kind in _FIXES and not declared.holds(found):
                fix = _FIXES[declared.kind].format(key=key)
                raise self.error(name, key, declared.kind, repr(found), fix)

    def _unknown_key(self, table: str, key: str, known: Sequence[str]) -> HarnessError:
        """The error for a key that no table has, with the closest known keys."""
        hint = did_you_mean(key, known)
        return self.error(
            table, key, f"one of {', '.join(known)}", f"the key `{key}`.{hint}", "rename or drop it"
        )

    def _line(self, table: str, key: str) -> int:
        """The line that sets `key`, else the table's header, else the first."""
        lines = self.text.splitlines()
        header = re.compile(rf"""\s*\[\s*["']?{re.escape(table)}["']?\s*[\].]""")
        start = next((i for i, line in enumerate(lines) if header.match(line)), 0)
        if key:
            item = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
            for index in range(start + 1, len(lines)):
                if item.match(lines[index]):
                    return index + 1
                if lines[index].startswith("[") and not header.match(lines[index]):
                    break
        return start + 1
