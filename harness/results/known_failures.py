"""Known failures: for every cell that does not pass, what a person wrote about its failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.catalog.selection import Catalog
from harness.contract import CellFailure, CellResult, HarnessError, Outcome, Stage
from harness.results import expectations_file
from harness.results.changed_cells import CellKey
from harness.results.expectations import Expectation, Expectations, Failure
from harness.results.queries import Connection

#: The cell, and the fingerprint of one of its failures.
FailureKey = tuple[CellKey, str]


def load(root: Path, catalog: Catalog, names: Iterable[str]) -> dict[str, Expectations]:
    """The expectations of backends by name; one whose file is not here or is wrong is left out.

    Args:
        root: the checkout.
        catalog: the model lists.
        names: of the backends.
    """
    found = {}
    try:
        specs = backends.discover(left_out=[])
        library = expectations_file.load_library(root / model_lists.FOLDER, catalog)
    except HarnessError:
        return {}
    for name in names:
        if name not in specs:
            found[name] = Expectations(library=library.rows)
            continue
        try:
            own = expectations_file.load(specs[name].expectations, catalog)
        except HarnessError:
            continue
        found[name] = Expectations(rows=own.rows, library=library.rows)
    return found


def known(
    connection: Connection, expectations: Mapping[str, Expectations]
) -> dict[FailureKey, Failure]:
    """The row of expectations that each failure of the last results fits, where one does.

    Args:
        connection: the results, brought together.
        expectations: by backend.
    """
    rows = connection.execute(
        f"""
        SELECT backend, precision, entry, head, stage, outcome, reason, cause, error FROM latest
        WHERE outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
        UNION ALL
        SELECT backend, precision, entry, head, f.stage, f.outcome, f.reason, f.cause, f.error
        FROM latest JOIN further_failures AS f USING (run_id, entry, head, precision)
        """
    ).fetchall()
    by_entry = {
        name: (_by_entry(each.rows), _by_entry(each.library)) for name, each in expectations.items()
    }
    found: dict[FailureKey, Failure] = {}
    for backend, precision, entry, head, stage, outcome, reason, cause, error in rows:
        own, library = by_entry.get(backend, ({}, {}))
        if entry not in own and entry not in library:
            continue
        failure = CellFailure(Stage(stage), Outcome(outcome), reason, cause, error)
        cell = CellResult(entry, "", "", head, precision, failure.stage, failure.outcome)
        one = Expectations(rows=tuple(own.get(entry, ())), library=tuple(library.get(entry, ())))
        for row in (*one.about(cell), *one.of_library(cell)):
            if row.failure.fits(failure):
                found[CellKey(backend, precision, entry, head), cause] = row.failure
                break
    return found


def _by_entry(rows: Iterable[Expectation]) -> dict[str, list[Expectation]]:
    found: dict[str, list[Expectation]] = {}
    for row in rows:
        found.setdefault(row.entry, []).append(row)
    return found
