"""Record of a cell in progress: stages entered, failures kept and numbers measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from harness.cell.errors import failure_of
from harness.contract import CellFailure, CellResult, Inconclusive, Metric, Outcome, Stage
from harness.toolkit import fingerprints, printable

#: Tells the parent which stage comes next, and the failures so far.
Report = Callable[[Stage, Sequence[CellFailure]], None]

#: How many further inputs a reason names.
MOST_INPUTS = 12


@dataclass(slots=True)
class CellProgress:
    """A cell's partial result and its current stage; survives the exception that ends the cell."""

    result: CellResult
    report: Report
    current: Stage = Stage.BUILD

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Tells the parent before entering a stage, and counts its CPU seconds."""
        self.current = stage
        self._tell()
        if self.result.outcome is Outcome.PASS:
            self.result.stage = stage
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.metric(f"cpu_{stage}", time.process_time() - cpu, "s")
            self.metric(f"wall_{stage}", time.perf_counter() - wall, "s")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps an exception as a failure of the current stage, so that what follows still runs.

        A stage with several checks puts each of them into a `with progress.kept():` of its own.
        """
        try:
            yield
        except (SystemExit, KeyboardInterrupt):
            raise  # the process says how it ended
        except BaseException as error:
            self.keep(error)

    def keep(self, error: BaseException, also_on: Sequence[str] = ()) -> None:
        """Keeps an exception as a failure of the current stage.

        Of a cell that has failed, a check that cannot judge says nothing more.

        Args:
            error: the exception, whose message names its own input.
            also_on: further inputs on which the same check fails; the reason names some of them.
        """
        if isinstance(error, Inconclusive) and self.result.outcome is not Outcome.PASS:
            return
        failure = failure_of(error, self.current, (self.result.entry, self.result.architecture))
        if also_on:
            listed = ", ".join(f"'{name}'" for name in also_on[:MOST_INPUTS])
            more = len(also_on) - MOST_INPUTS
            listed += f" and {more} more" if more > 0 else ""
            reason = printable.kept_line(f"{failure.reason}; also on {listed}")
            failure = replace(failure, reason=reason)
        self.result.fail(failure)
        self._tell()  # a crash of the process must not take the failure with it

    def keep_by_cause(self, errors: Mapping[str, Exception]) -> None:
        """Keeps exceptions by the input on which each was raised: one failure for each cause."""
        alike: dict[str, dict[str, Exception]] = {}  # cause -> input -> exception
        for name, error in errors.items():
            error.add_note(f"on input {name!r}")
            alike.setdefault(fingerprints.of(error), {})[name] = error
        for group in alike.values():
            first, *others = group
            self.keep(group[first], others)

    def metric(self, name: str, value: float, unit: str) -> None:
        """Keeps one measured number."""
        self.result.metrics.append(Metric(name, float(value), unit))

    def _tell(self) -> None:
        self.report(self.current, self.result.failures)
