"""Totals of the cells by outcome and verdict: of each column, and of each family in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contract import GREEN, Outcome
from harness.results.queries import COLUMN_ORDER, FAMILY_ORDER, NOT_GREEN, Column, Connection, dicts


@dataclass(frozen=True, slots=True)
class Total:
    """Counts of the cells of one column, or of one family in one column."""

    backend: str
    precision: str
    family: str  # empty: all families
    outcomes: Mapping[str, int]
    verdicts: Mapping[str, int]
    listed: int  # entries that the model lists name
    not_run: int  # of these, entries without any result in this column
    surprises: int  # judged cells that did not pass although nobody expected that

    @property
    def column(self) -> Column:
        """The column counted."""
        return Column(self.backend, self.precision)

    @property
    def passed(self) -> int:
        """Cells that passed. Nothing else counts as passing."""
        return self.outcomes.get(Outcome.PASS, 0)

    @property
    def absent(self) -> int:
        """Cells that this environment's pins do not have."""
        return self.outcomes.get(Outcome.ABSENT, 0)

    @property
    def judged(self) -> int:
        """The denominator: every cell that ran, absent ones excluded."""
        return sum(self.outcomes.values()) - self.absent

    @property
    def expected(self) -> int:
        """Cells that did not pass, as expected (`xfail`), absent ones excluded."""
        return self.judged - self.passed - self.surprises

    @property
    def unexpected(self) -> int:
        """Cells whose verdict is not green, improvements and unexpected absences included."""
        return sum(count for verdict, count in self.verdicts.items() if verdict not in GREEN)


def by_column(connection: Connection) -> list[Total]:
    """One row a column, over all families."""
    return _totals(connection, families=False)


def by_family(connection: Connection) -> list[Total]:
    """One row a family and column; families in the order of the contract."""
    return _totals(connection, families=True)


def _totals(connection: Connection, *, families: bool) -> list[Total]:
    family = "family" if families else "''"
    rows = connection.execute(
        f"""
        WITH asked AS (
            SELECT backend, precision, entry, {family} AS family
            FROM (SELECT DISTINCT backend, precision FROM latest), listed
        ), entries AS (
            SELECT backend, precision, family, count(*) AS listed,
                count(*) FILTER (NOT EXISTS (
                    FROM latest WHERE latest.entry = asked.entry
                    AND latest.backend = asked.backend AND latest.precision = asked.precision
                )) AS not_run
            FROM asked GROUP BY ALL
        ), counted AS (
            SELECT backend, precision, {family} AS family, histogram(outcome) AS outcomes,
                histogram(verdict) AS verdicts,
                count(*) FILTER (
                    {NOT_GREEN} AND outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
                ) AS surprises
            FROM latest GROUP BY ALL
        )
        SELECT backend, precision, family, coalesce(outcomes, MAP {{}}) AS outcomes,
            coalesce(verdicts, MAP {{}}) AS verdicts, listed, not_run,
            coalesce(surprises, 0) AS surprises
        FROM entries LEFT JOIN counted USING (backend, precision, family)
        ORDER BY {FAMILY_ORDER}, {COLUMN_ORDER}
        """
    )
    return [Total(**row) for row in dicts(rows)]
