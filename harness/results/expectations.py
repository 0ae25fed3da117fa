"""Expected failures of a backend, and the verdict on a result that is held against them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from harness.contract import CellFailure, CellResult, Device, Outcome, Stage, Verdict

OWNERS = ("ours", "upstream", "never")

#: The reason of an absent cell starts with this where the entry's own `requires` is not met, as
#: `mega` needs an older transformers.
DECLARED_ABSENT = "requires "


@dataclass(frozen=True, slots=True)
class Failure:
    """A known failure: stage, cause and owner, the same for every entry that the cause blocks."""

    stage: Stage
    outcome: Outcome | None = None  # None: any; flaky: the cell may pass or fail
    match: str = ""  # empty: any
    owner: str = "ours"
    reason: str = ""
    issue: str = ""

    @property
    def flaky(self) -> bool:
        """Whether the cell is known to pass and to fail."""
        return self.outcome is Outcome.FLAKY

    def fits(self, found: CellFailure) -> bool:
        """Whether a cell's failure is at this stage, with this outcome, for this cause.

        Only a row with the outcome `flaky` fits a cell that passes and fails. That row fits any
        other outcome too, because one attempt cannot show that a cell is flaky.
        """
        if found.stage is not self.stage:
            return False
        if found.outcome is Outcome.FLAKY and not self.flaky:
            return False
        if self.outcome is not None and found.outcome is not self.outcome and not self.flaky:
            return False
        return any(self.match in text for text in (found.cause, found.reason, found.error))


@dataclass(frozen=True, slots=True)
class Scope:
    """The cells of an entry that are meant; an empty head, precision or device means every one.

    Attributes:
        head: of the cell.
        precision: of the cell.
        device: a piece of `device_text`.
        checks: the set of checks that shows it, as `deep`; empty for any.
        dtype: that the cell's precision computes in on the device; empty for any.
    """

    head: str = ""
    precision: str = ""
    device: str = ""
    checks: str = ""
    dtype: str = ""

    @property
    def narrowness(self) -> int:
        """How much is said of the cell: the narrowest scope wins.

        A device and a set of checks are no part of it.
        """
        return bool(self.head) + bool(self.precision or self.dtype)

    def holds(self, head: str, precision: str) -> bool:
        """Whether the cell lies in this scope."""
        return self.head in ("", head) and self.precision in ("", precision)


def device_text(device: Device) -> str:
    """The text in which a row's `device` is looked for: kind, name and driver of a device.

    `gpu: WebGPU on google swiftshader; Chromium 156; emulated`, for example.
    """
    words = [f"{device.kind}: {device.name}", device.driver, "emulated" if device.emulated else ""]
    return "; ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected failure of one entry: one name of one `[[expect]]`."""

    entry: str
    scope: Scope
    failure: Failure


@dataclass(frozen=True, slots=True)
class Expectations:
    """The expectations of one backend.

    Attributes:
        rows: one an entry, in the order of the file.
        library: rows about faults of the libraries, the same for all backends. A failure that such
            a row names is expected wherever it shows; a backend need not come as far as the fault.
        checks_library: whether each of these faults must show here, as on eager PyTorch: a cell
            that passes is then `improved`.
        header: the comment at the top of the file.
        warnings: mistakes that a run tolerates and the tests do not (rows without a reason).
        promised: the entries that the backend's pins are meant to have; None: all of them.
        device: the text of the run's device; None where it is not known, and every row counts.
        checks: the run's set of checks; None where it is not known, and every row counts.
        dtypes: that the device computes in, by precision; a row of a dtype counts in every
            precision that is not among them.
        must_show: whether a cell that passes in spite of a row is `improved`. Rows are about tiny
            models with the default seed: at another size or seed such a failure is expected where
            it shows, and need not show.
    """

    rows: tuple[Expectation, ...] = ()
    library: tuple[Expectation, ...] = ()
    checks_library: bool = False
    header: str = ""
    warnings: tuple[str, ...] = ()
    promised: Collection[str] | None = None
    device: str | None = None
    checks: str | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    must_show: bool = True

    def judge(self, result: CellResult, history: Outcome | None) -> Verdict:
        """The verdict on a result: each of its failures must be expected.

        Args:
            result: of the cell.
            history: the outcome of the last green result of the same cell, None without one. A cell
                stays `regressed` until it passes or its failure is expected. A flaky cell is never
                `regressed`: the pass before was one of its two answers.
        """
        if self.declared_absent(result):
            return Verdict.XFAIL
        binding = self.about(result)
        if self.checks_library:
            binding += self.of_library(result)
        if result.outcome is Outcome.PASS:
            settled = [row for row in binding if not row.failure.flaky]
            return Verdict.IMPROVED if settled and self.must_show else Verdict.OK
        if not self.unexpected(result):
            return Verdict.XFAIL
        if result.outcome is Outcome.FLAKY:
            return Verdict.FLAKY
        if binding:
            return Verdict.CHANGED
        return Verdict.REGRESSED if history is Outcome.PASS else Verdict.NEW

    def declared_absent(self, result: CellResult) -> bool:
        """Whether a cell is absent as its `requires` or the backend's `models` let expect."""
        unmet = result.reason.startswith(DECLARED_ABSENT)
        beyond = self.promised is not None and result.entry not in self.promised
        return result.outcome is Outcome.ABSENT and (unmet or beyond)

    def unexpected(self, result: CellResult) -> list[CellFailure]:
        """The failures of a result that no row about its cell names."""
        rows = self.about(result) + self.of_library(result)
        return [
            found for found in result.failures if not any(row.failure.fits(found) for row in rows)
        ]

    def about(self, result: CellResult) -> list[Expectation]:
        """The backend's narrowest rows whose scope holds the cell of a result."""
        rows = [row for row in _about(self.rows, result) if self.counts(row, result.precision)]
        narrowest = max((row.scope.narrowness for row in rows), default=0)
        return [row for row in rows if row.scope.narrowness == narrowest]

    def of_library(self, result: CellResult) -> list[Expectation]:
        """The rows about faults of the libraries whose scope holds the cell of a result."""
        return [row for row in _about(self.library, result) if self.counts(row, result.precision)]

    def counts(self, row: Expectation, precision: str) -> bool:
        """Whether a row counts in a precision on the run's device, and with its set of checks."""
        scope = row.scope
        on_device = self.device is None or scope.device in self.device
        in_dtype = scope.dtype in ("", self.dtypes.get(precision, scope.dtype))
        return on_device and in_dtype and (self.checks is None or scope.checks in ("", self.checks))


def _about(rows: Iterable[Expectation], result: CellResult) -> list[Expectation]:
    return [
        row
        for row in rows
        if row.entry == result.entry and row.scope.holds(result.head, result.precision)
    ]
