"""Public bugs, each run on a version that has it and on one without: caught, and by which check.

    nox -s mock -- --models smoke                          # once, for a Python with DuckDB
    .nox/mock/bin/python -m benchmarks.public_bugs         # all of public_bugs.toml
    .nox/mock/bin/python -m benchmarks.public_bugs --quick # two bugs
    .nox/mock/bin/python -m benchmarks.public_bugs --list
    .nox/mock/bin/python -m benchmarks.public_bugs --write # the table of docs/method.md

Needs uv on PATH, Linux, and the internet for packages that uv has not cached. Each environment is
the pins of a backend with one package swapped: a minute and 1 GB of disk, 0.1 GB where the cache of
uv is on the same file system. They stay in `~/.cache/hf-hardware-matrix/environments`, where
`python -m harness bisect` keeps its own, until `--remove`.

The bugs are data: what users reported. All but the first ten were chosen before anyone looked at
whether the harness sees them. Nothing in the harness may be tuned to one of them; a bug that is
missed stays in the table.
Exits with 1 where a right version gave a false alarm, whatever the share of the bugs caught.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.bug_judgement import Judgement, Row, Sighting, judge
from harness.catalog import backends, model_lists
from harness.contract import FAMILIES, HarnessError
from harness.environments import swapped
from harness.environments.session import results_of
from harness.toolkit.checkout import ROOT
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.marked_text import write_between
from harness.toolkit.text_table import markdown_table, plain_table
from harness.toolkit.toml_keys import STRINGS, Key

TABLE = Path(__file__).with_suffix(".toml")

#: Where `--write` puts the table of kinds.
DOCUMENT = ROOT / "docs" / "method.md"
BEGIN = "<!-- public bugs: `python -m benchmarks.public_bugs --write` -->"
END = "<!-- end of public bugs -->"

#: Bugs of a quick run: of the same versions, so that it makes two environments.
QUICK = ("nemotron_h-chunks-leak", "mamba2-beams-keep-their-cache")

#: Keys of a `[[bug]]`.
KEYS: Mapping[str, Key] = {
    "name": Key("A name of its own: the entry and the fault.", required=True),
    "report": Key("Repository and number, `huggingface/transformers 46612`.", required=True),
    "title": Key("The fault, in our own words.", required=True),
    "family": Key("The family of the entry.", choices=FAMILIES, required=True),
    "package": Key("The package that has the fault; by default transformers."),
    "wrong": Key("A version that has it.", required=True),
    "right": Key("A version that has it no longer; empty: no release yet.", required=True),
    "entry": Key("The entry of the model lists to run.", required=True),
    "backend": Key("The session to run it in; by default torch-cpu."),
    "options": Key("Options of that session, as `--precision`.", STRINGS),
    "needs": Key("The kind of check that the bug asks for.", required=True),
    "blame": Key("Words, one of which a failure about this bug has.", STRINGS, required=True),
    "verified": Key("What the smallest script shows, on either version.", required=True),
}


@dataclass(frozen=True, slots=True)
class Bug:
    """One public bug; `KEYS` says what each field is."""

    name: str
    report: str
    title: str
    family: str
    wrong: str
    right: str
    entry: str
    needs: str
    blame: tuple[str, ...]
    verified: str
    package: str = "transformers"
    backend: str = "torch-cpu"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the harness: a backend with one package in one version, and options."""

    backend: str
    package: str
    version: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([self.backend, f"{self.package}=={self.version}", *self.options])


def read(path: Path = TABLE) -> dict[str, Bug]:
    """The bugs by name, in the order of the file.

    Raises:
        HarnessError: the file is no TOML, or a bug has a missing, unknown or malformed key.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("bug", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise HarnessError(f"expected bugs in {path}, found {error}. Fix: correct it") from error
    bugs: dict[str, Bug] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path.name}, bug {number} ({table.get('name', 'without a name')})"
        _check(table, where)
        if table["name"] in bugs:
            raise HarnessError(f"{where}: expected a name of its own, found it twice. Fix: rename")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        bugs[table["name"]] = Bug(**fields)
    return bugs


def _check(table: Mapping[str, Any], where: str) -> None:
    for name, value in table.items():
        key = KEYS.get(name)
        if key is None:
            raise HarnessError(f"{where}: unknown key {name!r}.{did_you_mean(name, KEYS)}")
        if not key.holds(value):
            raise HarnessError(f"{where}: expected {name} to be {key.kind}, found {value!r}")
        if key.choices and value not in key.choices:
            hint = did_you_mean(value, key.choices)
            raise HarnessError(f"{where}: there is no {name} {value!r}.{hint}")
    lacking = [name for name, key in KEYS.items() if key.required and name not in table]
    if lacking:
        raise HarnessError(f"{where}: expected {', '.join(lacking)}, found none. Fix: add them")
    if not table["blame"]:
        raise HarnessError(f"{where}: expected words in blame, found none. Fix: add them")


@cache
def with_branches(entry: str) -> list[str]:
    """An entry and those of model_lists/branches.toml that are branches of it."""
    listed = model_lists.load().entries.values()
    return [entry, *(each.name for each in listed if each.branch_of == entry)]


def sessions(bugs: Iterable[Bug]) -> dict[Session, list[str]]:
    """The entries to run in each session, so that bugs of one version share it."""
    entries: dict[Session, list[str]] = {}
    for bug in bugs:
        for version in filter(None, (bug.wrong, bug.right)):
            session = Session(bug.backend, bug.package, version, bug.options)
            listed = entries.setdefault(session, [])
            listed += [name for name in with_branches(bug.entry) if name not in listed]
    return entries


def run(session: Session, entries: Sequence[str]) -> list[Row]:
    """The cells of some entries in one session.

    Raises:
        HarnessError: the environment can't be made, or the session ends without results.
    """
    spec = backends.find(session.backend)
    python = swapped.interpreter(spec, session.package, session.version)
    with results_of(python, spec, ["--models", ",".join(entries), *session.options]) as files:
        return [row for file in files for row in rows_of(file)]


def rows_of(path: Path) -> list[Row]:
    """The cells of a results file, and once more for each further failure of a cell."""
    import duckdb

    columns = ", ".join(Row.__dataclass_fields__)
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute(f"SELECT {columns} FROM cells").fetchall()
        found += connection.execute(
            "SELECT f.entry, f.head, f.precision, f.stage, f.outcome, c.verdict, f.reason "
            "FROM further_failures f JOIN cells c USING (run_id, entry, head, precision)"
        ).fetchall()
    return [Row(*(value or "" for value in values)) for values in found]


def judgements(
    bugs: Iterable[Bug], results: Mapping[Session, Sequence[Row]]
) -> dict[str, Judgement]:
    """The judgement on each bug, by name; a session without results has run no cell."""

    def of(bug: Bug, version: str) -> list[Row]:
        rows = results.get(Session(bug.backend, bug.package, version, bug.options), ())
        names = with_branches(bug.entry)
        return [row for row in rows if row.entry in names]

    return {
        bug.name: judge(bug.blame, of(bug, bug.wrong), of(bug, bug.right) if bug.right else None)
        for bug in bugs
    }


def report(bugs: Sequence[Bug], judged: Mapping[str, Judgement]) -> str:
    """The bugs as a table: what became of each, sorted by the kind of check that it needs."""
    rows = [("bug", "report", "wrong", "right", "needs", "seen", "stage", "blame or false alarm")]
    for bug in sorted(bugs, key=lambda bug: (bug.needs, bug.name)):
        found = judged[bug.name]
        seen = f"{found.sighting}, expected" if found.expected else str(found.sighting)
        text = f"FALSE ALARM on {bug.right}: {found.false_alarm}" if found.false_alarm else ""
        rows.append(
            (bug.name, bug.report, bug.wrong, bug.right or "none yet", bug.needs, seen,
             found.stage, (text or found.reason)[:100])
        )  # fmt: skip
    count = Counter(found.sighting for found in judged.values())
    alarms = sum(bool(found.false_alarm) for found in judged.values())
    told = ", ".join(f"{count[kind]} {kind}" for kind in Sighting if count[kind])
    share = count[Sighting.CAUGHT] / len(judged) if judged else 0.0
    total = f"{len(judged)} bugs: {told}; {share:.0%} caught; {alarms} false alarms"
    return "\n".join([*plain_table(rows), "", total])


def kinds(bugs: Sequence[Bug], judged: Mapping[str, Judgement]) -> str:
    """The kinds of check that the bugs ask for, as Markdown: how many are caught, and which not."""
    rows = []
    for kind in sorted({bug.needs for bug in bugs}):
        of_kind = [bug for bug in bugs if bug.needs == kind]
        caught = [bug for bug in of_kind if judged[bug.name].sighting is Sighting.CAUGHT]
        stages = sorted({judged[bug.name].stage for bug in caught})
        missed = [f"{bug.report.split()[-1]} `{bug.entry}`" for bug in of_kind if bug not in caught]
        share = f"{len(caught)} of {len(of_kind)}"
        rows.append((kind, share, ", ".join(stages), ", ".join(missed)))
    heads = ("what it takes to see it", "caught", "at stage", "missed: report and entry")
    return "\n".join(markdown_table(heads, rows))


def chosen(bugs: Mapping[str, Bug], only: Sequence[str]) -> list[Bug]:
    """The bugs of some names, or all of them where none is named.

    Raises:
        HarnessError: there is no bug of that name.
    """
    for name in only:
        if name not in bugs:
            raise HarnessError(f"there is no bug {name!r}.{did_you_mean(name, bugs)}")
    return [bugs[name] for name in only] if only else list(bugs.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bugs and print what was caught; 1 where a right version gave a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--list", action="store_true", help="print the bugs, run nothing")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this bug")
    parser.add_argument("--quick", action="store_true", help="two bugs")
    parser.add_argument("--json", action="store_true", help="print the judgements as JSON")
    parser.add_argument("--write", action="store_true", help="write the table of docs/method.md")
    parser.add_argument("--remove", action="store_true", help="remove the environments")
    arguments = parser.parse_args(argv)
    try:
        return _main(arguments)
    except HarnessError as error:
        print(f"public_bugs: {error}", file=sys.stderr)
        return 2


def _main(arguments: argparse.Namespace) -> int:
    if arguments.remove:
        swapped.remove()
        return 0
    bugs = chosen(read(), arguments.only or (QUICK if arguments.quick else ()))
    if arguments.list:
        heads = ("bug", "family", "report", "wrong", "right", "title")
        lines = [
            (b.name, b.family, b.report, b.wrong, b.right or "none yet", b.title) for b in bugs
        ]
        print("\n".join(plain_table([heads, *lines])))
        return 0
    swapped.check_uv()
    results: dict[Session, list[Row]] = {}
    for session, entries in sessions(bugs).items():
        print(f"{session}: {', '.join(entries)}", file=sys.stderr, flush=True)
        try:
            results[session] = run(session, entries)
        except HarnessError as error:
            print(f"public_bugs: {error}", file=sys.stderr)
    judged = judgements(bugs, results)
    if arguments.write:
        write_between(DOCUMENT, BEGIN, END, kinds(bugs, judged))
    if arguments.json:
        print(json.dumps([asdict(bug) | asdict(judged[bug.name]) for bug in bugs], indent=2))
    else:
        print(report(bugs, judged))
    return int(any(found.false_alarm for found in judged.values()))


if __name__ == "__main__":
    sys.exit(main())
