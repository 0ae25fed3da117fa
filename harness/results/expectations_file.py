"""Format and reader of `expectations.toml`, the deviations of one backend.

`backends/<folder>/expectations.toml` holds deviations only; what it does not name is expected to
pass. One `[[expect]]` names one cause, and every entry that the cause blocks:

    [[expect]]
    entries = ["qwen3_next", "qwen3_5_text"]    # or entry = "qwen3_next"
    stage = "prepare"                           # or stages = ["verify", "generate"]
    outcome = "fail"                            # optional; any but pass; flaky: it may pass or fail
    match = "linalg_solve_triangular"           # optional; a piece of the cause, reason or error
    precision = "f16"                           # optional; every precision otherwise
    dtype = "bfloat16"                          # optional; that the precision computes in here
    head = "fill-mask"                          # optional; every head otherwise
    device = "emulated"                         # optional; a piece of the device's name or driver
    checks = "deep"                             # optional; with --checks deep alone
    owner = "upstream"                          # ours | upstream | never
    reason = "OpenVINO's front end has no translation for this op."
    issue = ""                                  # optional; a link

`match` is a plain piece of text, no pattern: error messages are full of brackets and dots. A
narrower row (one that names a precision or dtype, a head or both) goes before a wider one. What a
device computes in is not the same everywhere: OpenVINO's `default` is bfloat16 on some CPUs and
float32 on others, and a row with a `dtype` follows the arithmetic. A row with a `device` counts on
no other: a fault of SwiftShader is none of a GPU. One with `checks` counts in runs with that set of
checks. A cell may have several failures, as at verify and at generate: a row for each, told apart
by `stage` or `match`. A failure that no row names makes the cell red. A cell that fails now here,
now there has a row for each stage, too.

Rows are about tiny models with the default seed. At `--size wide` or `full`, with another `--seed`
or with real weights, a failure that a row names is expected where it shows, and need not show.

`model_lists/expectations.toml` has the same rows about faults of the libraries: `generate()` counts
the positions of `roberta_decoder` wrong on every backend. Such a row stands beside those of each
backend: a failure that it names is expected wherever it shows. On a backend with `checkpoints` in
its `backend.toml`, as torch-cpu, it has to show, and a cell that passes is `improved`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.catalog import model_lists
from harness.catalog.selection import Catalog
from harness.contract import DTYPES, HarnessError, Outcome, Stage
from harness.results.expectations import OWNERS, Expectation, Expectations, Failure, Scope
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, STRINGS, Key
from harness.toolkit.toml_text import value

#: Where the schema of this repository's files is, from their folder.
SCHEMA = "../../docs/schemas/expectations.schema.json"
HEADER = """\
# What this backend is known to get wrong, and why; everything else is expected to pass.
# `harness/results/expectations_file.py` documents the keys. Rewrite after a run with
# `nox -s {session} -- --update-expectations`, then give each new row its owner and reason.
"""

STAGES = tuple(stage.value for stage in Stage)

#: Keys of an `[[expect]]`.
KEYS: Mapping[str, Key] = {
    "entries": Key("The entries that the cause blocks; or `entry`, where it is one.", STRINGS),
    "entry": Key("The entry that the cause blocks; or `entries`."),
    "precision": Key("The precision that it is about; by default every one."),
    "dtype": Key(
        "The dtype that the cell's precision computes in on the device; by default any.",
        choices=tuple(DTYPES),
    ),
    "head": Key("The head that it is about, base for none; by default every one."),
    "device": Key(
        "A piece of the device's kind, name or driver, or emulated; by default any device."
    ),
    "checks": Key("The set of checks that shows it; by default any.", choices=("default", "deep")),
    "stages": Key("The stages at which it fails; or `stage`, where it is one.", STRINGS, STAGES),
    "stage": Key("The stage at which it fails; or `stages`.", choices=STAGES),
    "outcome": Key(
        "How it fails; by default in any way; flaky: the cell may also pass.",
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
    others: Callable[[], Collection[str]] = tuple,
) -> Expectations:
    """Reads and checks one file; a file that is not there expects nothing.

    Args:
        path: the backend's `expectations.toml`.
        catalog: the model lists that its entries must be in.
        precisions: those that the backend has, where the caller knows them; a row that names
            another would never match.
        others: gives names of entries that are not in these lists, and that its rows may have.

    Raises:
        HarnessError: the file is wrong; the message has the line and the fix.
    """
    if not path.exists():
        header = HEADER.format(session=path.parent.name.replace("_", "-"))
        in_reach = (path.parent / SCHEMA).is_file()  # it is not from a vendor's folder
        return Expectations(header=f"#:schema {SCHEMA}\n{header}" if in_reach else header)
    return ExpectationsReader(TomlFile(path, str(path)), catalog, precisions, others).read()


def load_library(folder: Path, catalog: Catalog) -> Expectations:
    """Reads and checks the rows about faults of the libraries; where there is no file, none.

    Args:
        folder: of model lists.
        catalog: its lists, and perhaps others.

    Raises:
        HarnessError: the file is wrong; the message has the line and the fix.
    """
    path = folder / model_lists.EXPECTATIONS
    if not path.exists():
        return Expectations()
    shown = path.relative_to(folder.parent).as_posix()
    return ExpectationsReader(TomlFile(path, shown), catalog).read()


def as_keys(scope: Scope, failure: Failure) -> dict[str, str]:
    """The keys of one `[[expect]]`, without its entries; empty where it does not say."""
    return {
        "head": scope.head,
        "precision": scope.precision,
        "dtype": scope.dtype,
        "device": scope.device,
        "checks": scope.checks,
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
        source: TomlFile,
        catalog: Catalog,
        precisions: Collection[str] = (),
        others: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.source = source
        self.others = functools.cache(lambda: frozenset(others()))  # reads lists: once is enough
        self.path = source.path
        self.catalog = catalog
        self.keys = dict(KEYS)
        if precisions:
            self.keys["precision"] = replace(KEYS["precision"], choices=tuple(precisions))

    def read(self) -> Expectations:
        """The expectations of the file.

        Raises:
            HarnessError: a row is wrong; says where and how to correct it.
        """
        self.source.check_top({"expect": Key("The deviations, a row each.", ANY)})
        tables = self.source.check_rows("expect", self.keys)
        rows: list[Expectation] = []
        warnings = []
        first: dict[tuple[str, Scope, Stage, str], int] = {}
        for index, table in enumerate(tables):
            for row in self._rows(index, table):
                failure = row.failure
                key = (row.entry, row.scope, failure.stage, failure.match)
                double = first.setdefault(key, index)
                if double != index or row in rows:
                    raise self._error(
                        index,
                        "entry",
                        "one row a cell, stage and match",
                        f"a second one for {row.entry!r} (the first is at line "
                        f"{self._line(double)})",
                        "drop one, or tell them apart by `precision`, `dtype`, `head`, `device`, "
                        "`checks`, `stage` or `match`",
                    )
                rows.append(row)
            if not table["reason"].strip():
                warnings.append(
                    f"{self.path}:{self._line(index, 'reason')}: the reason is blank. Fix: say "
                    "why it fails, and whose it is (`owner`)"
                )
        header = _leading_comment(self.source.text.splitlines())
        return Expectations(tuple(rows), header=header, warnings=tuple(warnings))

    def _rows(self, index: int, table: Any) -> list[Expectation]:
        scope = Scope(
            *(table.get(key, "") for key in ("head", "precision", "device", "checks", "dtype"))
        )
        outcome = Outcome(table["outcome"]) if "outcome" in table else None
        cause = table.get("match", ""), table["owner"], table["reason"], table.get("issue", "")
        failures = [
            Failure(Stage(stage), outcome, *cause)
            for stage in self._one_or_more(index, table, "stage", "stages", "verify", "generate")
        ]
        names = self._entries(index, table)
        return [Expectation(name, scope, failure) for failure in failures for name in names]

    def _one_or_more(
        self, index: int, table: Mapping[str, Any], one: str, more: str, *examples: str
    ) -> list[str]:
        """The strings under a key for one of them, or under another one for several."""
        found = table.get(more, [table[one]] if one in table else None)
        if (one in table and more in table) or not found:
            raise self._error(
                index,
                more,
                f"`{one}` or `{more}`, one of the two",
                "both" if one in table and more in table else repr(found),
                f"write {one} = {value(examples[0])}, or {more} = {value(examples)}",
            )
        return list(found)

    def _entries(self, index: int, table: Mapping[str, Any]) -> list[str]:
        found = self._one_or_more(index, table, "entry", "entries", "bert", "gpt2")
        key = "entries" if "entries" in table else "entry"
        for name in found:
            if name in self.catalog.entries or name in self.others():
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

    def _error(self, index: int, key: str, expected: str, found: object, fix: str) -> HarnessError:
        return self.source.error("expect", key, expected, found, fix, index)

    def _line(self, index: int, key: str = "") -> int:
        return self.source.line("expect", key, index)


def _leading_comment(lines: Iterable[str]) -> str:
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line + "\n")
    return "".join(comment)
