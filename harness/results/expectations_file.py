"""Format and reader of `expectations.toml`, the deviations of one backend.

`backends/<folder>/expectations.toml` holds deviations only; what it does not name is expected to
pass. One `[[expect]]` names one cause, and every entry that the cause blocks:

    [[expect]]
    entries = ["qwen3_next", "qwen3_5_text"]    # or entry = "qwen3_next"
    stage = "prepare"
    outcome = "fail"                            # optional; any but pass
    match = "linalg_solve_triangular"           # optional; a piece of the cause, reason or error
    precision = "f16"                           # optional; every precision otherwise
    head = "fill-mask"                          # optional; every head otherwise
    owner = "upstream"                          # ours | upstream | never
    reason = "OpenVINO's front end has no translation for this op."
    issue = ""                                  # optional; a link

`match` is a plain piece of text, no pattern: error messages are full of brackets and dots.
A narrower row (one that names a precision, a head or both) goes before a wider one. A cell that
fails now here, now there has a row for each stage.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.catalog import model_lists
from harness.catalog.selection import Catalog
from harness.contract import HarnessError, Outcome, Stage
from harness.results.expectations import OWNERS, Expectation, Expectations, Failure, Scope
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.toml_keys import STRING, STRINGS, Key

#: Where the schema of this repository's files is, from their folder.
SCHEMA = "../../docs/schemas/expectations.schema.json"
HEADER = """\
# What this backend is known to get wrong, and why; everything else is expected to pass.
# `harness/results/expectations_file.py` documents the keys. Rewrite after a run with
# `nox -s {session} -- --update-expectations`, then give each new row its owner and reason.
"""

#: Keys of an `[[expect]]`.
KEYS: Mapping[str, Key] = {
    "entries": Key("The entries that the cause blocks; or `entry`, where it is one.", STRINGS),
    "entry": Key("The entry that the cause blocks; or `entries`."),
    "precision": Key("The precision that it is about; by default every one."),
    "head": Key("The head that it is about, base for none; by default every one."),
    "stage": Key(
        "The stage at which it fails.", choices=tuple(stage.value for stage in Stage), required=True
    ),
    "outcome": Key(
        "How it fails; by default in any way.",
        choices=tuple(outcome.value for outcome in Outcome if outcome is not Outcome.PASS),
    ),
    "match": Key("A piece of the cause, reason or error, no pattern; by default any."),
    "owner": Key(
        "Whose it is to mend: ours, upstream, or never where nobody will.",
        choices=OWNERS,
        required=True,
    ),
    "reason": Key("Why it fails.", required=True),
    "issue": Key("A link to where it is reported."),
}


def load(
    path: Path,
    catalog: Catalog,
    *,
    precisions: Collection[str] = (),
) -> Expectations:
    """Reads and checks one file; a file that is not there expects nothing.

    Args:
        path: the backend's `expectations.toml`.
        catalog: the model lists that its entries must be in.
        precisions: those that the backend has, where the caller knows them; a row that names
            another would never match.

    Raises:
        HarnessError: the file is wrong; the message has the line and the fix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        header = HEADER.format(session=path.parent.name.replace("_", "-"))
        in_reach = (path.parent / SCHEMA).is_file()  # it is not from a vendor's folder
        return Expectations(header=f"#:schema {SCHEMA}\n{header}" if in_reach else header)
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(
            f"{path}: expected a readable UTF-8 file, found: {error}. "
            f"Fix: restore it with `git checkout -- {path}`"
        ) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise HarnessError(
            f"{path}{':' + line.group(1) if line else ''}: expected TOML, found: {error}. "
            "Fix: correct that line"
        ) from None
    return ExpectationsReader(path, text, catalog, precisions).read(data)


def as_keys(scope: Scope, failure: Failure) -> dict[str, str]:
    """The keys of one `[[expect]]`, without its entries; empty where it does not say."""
    return {
        "head": scope.head,
        "precision": scope.precision,
        "stage": failure.stage.value,
        "outcome": failure.outcome.value if failure.outcome is not None else "",
        "match": failure.match,
        "owner": failure.owner,
        "reason": failure.reason,
        "issue": failure.issue,
    }


class ExpectationsReader:
    """Checker of one file, row by row."""

    def __init__(
        self,
        path: Path,
        text: str,
        catalog: Catalog,
        precisions: Collection[str],
    ) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.catalog = catalog
        self.precisions = precisions
        self.starts = [
            number
            for number, line in enumerate(self.lines, start=1)
            if re.match(r"\s*\[\[\s*expect\s*\]\]", line)
        ]

    def read(self, data: Mapping[str, Any]) -> Expectations:
        """The expectations of a parsed file.

        Raises:
            HarnessError: a row is wrong; says where and how to correct it.
        """
        for key in data:
            if key != "expect":
                raise HarnessError(
                    f"{self.path}: expected [[expect]] tables only, found `{key}`."
                    f"{did_you_mean(key, ['expect'])} Fix: rename or drop it"
                )
        tables = data.get("expect", [])
        if not isinstance(tables, list):
            raise HarnessError(
                f"{self.path}: expected `[[expect]]` with two brackets, found `[expect]`. "
                "Fix: double them"
            )
        rows: list[Expectation] = []
        warnings = []
        first: dict[tuple[str, Scope, Stage], int] = {}
        for index, table in enumerate(tables):
            for row in self._rows(index, table):
                double = first.setdefault((row.entry, row.scope, row.failure.stage), index)
                if double != index or row in rows:
                    raise self._error(
                        index,
                        "entry",
                        "one row a cell and stage",
                        f"a second one for {row.entry!r} (the first is at line "
                        f"{self._line(double)})",
                        "drop one, or tell them apart by `precision`, `head` or `stage`",
                    )
                rows.append(row)
            if not table["reason"].strip():
                warnings.append(
                    f"{self.path}:{self._line(index, 'reason')}: the reason is blank. Fix: say "
                    "why it fails, and whose it is (`owner`)"
                )
        return Expectations(tuple(rows), _leading_comment(self.lines), tuple(warnings))

    def _rows(self, index: int, table: Any) -> list[Expectation]:
        for key, found in table.items():
            if key not in KEYS:
                raise self._error(
                    index,
                    key,
                    f"one of {', '.join(KEYS)}",
                    f"the key `{key}`.{did_you_mean(key, KEYS)}",
                    "rename or drop it",
                )
            if KEYS[key].kind == STRING and not KEYS[key].holds(found):
                raise self._error(index, key, "a string", repr(found), "put it in quotes")
        for key, declared in KEYS.items():
            if declared.required and key not in table:
                raise self._error(index, "", f"`{key}`", "none", f"add it: {_EXAMPLES[key]}")
        for key, declared in KEYS.items():
            self._one_of(index, table, key, declared.choices)
        self._one_of(index, table, "precision", tuple(self.precisions))
        scope = Scope(table.get("head", ""), table.get("precision", ""))
        outcome = Outcome(table["outcome"]) if "outcome" in table else None
        failure = Failure(
            Stage(table["stage"]),
            outcome,
            table.get("match", ""),
            table["owner"],
            table["reason"],
            table.get("issue", ""),
        )
        return [Expectation(name, scope, failure) for name in self._entries(index, table)]

    def _entries(self, index: int, table: Mapping[str, Any]) -> list[str]:
        found = table.get("entries", [table["entry"]] if "entry" in table else None)
        if ("entry" in table and "entries" in table) or not found or not isinstance(found, list):
            raise self._error(
                index,
                "entries",
                "`entry` or `entries`, one of the two",
                "both" if "entry" in table and "entries" in table else repr(found),
                'write entry = "bert", or entries = ["bert", "gpt2"]',
            )
        key = "entries" if "entries" in table else "entry"
        for name in found:
            if name in self.catalog.entries:
                continue
            if name in self.catalog.unavailable:
                raise self._error(
                    index,
                    key,
                    "entries of the model lists",
                    f"{name!r}, which is in {model_lists.UNAVAILABLE}",
                    "drop it: the row is stale",
                )
            raise self._error(
                index,
                key,
                "entries of the model lists",
                f"{name!r}.{did_you_mean(str(name), self.catalog.entries)}",
                "correct it, or drop it when the entry is gone",
            )
        return found

    def _one_of(
        self, index: int, table: Mapping[str, Any], key: str, choices: Sequence[str]
    ) -> None:
        if choices and key in table and table[key] not in choices:
            raise self._error(
                index,
                key,
                f"one of {', '.join(choices)}",
                f"{table[key]!r}.{did_you_mean(table[key], choices)}",
                "choose one of them",
            )

    def _error(self, index: int, key: str, expected: str, found: object, fix: str) -> HarnessError:
        where = f"{self.path}:{self._line(index, key)}: [[expect]]"
        stop = "" if str(found).endswith("?") else "."  # a hint asks what else was meant
        return HarnessError(f"{where} expected {expected}, found {found}{stop} Fix: {fix}")

    def _line(self, index: int, key: str = "") -> int:
        """The line of `key` in the row, else the one where the row starts."""
        if index >= len(self.starts):  # written as an inline array
            return 1
        start = self.starts[index]
        end = self.starts[index + 1] - 1 if index + 1 < len(self.starts) else len(self.lines)
        for number in range(start, end):
            if re.match(rf"\s*{re.escape(key)}\s*=", self.lines[number]) and key:
                return number + 1
        return start


_EXAMPLES = {
    "stage": 'stage = "prepare"',
    "owner": 'owner = "upstream" (ours, upstream or never)',
    "reason": 'reason = "Why it fails."',
}


def _leading_comment(lines: Iterable[str]) -> str:
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line + "\n")
    return "".join(comment)
