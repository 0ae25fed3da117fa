"""Subject of a conformance check: one backend with one case, made step by step as it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from harness.catalog import backends
from harness.cell import border
from harness.cell.border import CheckedProgram
from harness.cell.conformance.finding import UncheckedError
from harness.cell.judgement import compare, with_own_floor
from harness.cell.progress import CellProgress, Report
from harness.cell.reference import Reference, make_reference
from harness.cell.request import Job
from harness.cell.stages import cell_case, cell_precision
from harness.contract import (
    Absent,
    Array,
    Arrays,
    Backend,
    Case,
    CellResult,
    Outcome,
    Precision,
    Stage,
    Unsupported,
)


class Subject:
    """One backend with one case; what a point does not need is never made.

    Args:
        job: the cell.
        report: called with a stage before it is entered.

    Attributes:
        stage: the step that is being made. A point blames the backend for its own step and those
            after it; what fails before is another point's.
    """

    def __init__(self, job: Job, report: Report) -> None:
        self.job = job
        self.stage = Stage.VERIFY
        self._report = report
        self.numpy_before = border.numpy_functions()

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """Marks one step; the mark stays where the step fails."""
        before, self.stage = self.stage, stage
        self._report(stage, ())
        yield
        self.stage = before
        self._report(before, ())

    @cached_property
    def backend(self) -> Backend:
        """The backend, opened."""
        with self.at(Stage.BUILD):
            spec = backends.find(self.job.cell.backend, self.job.backends_dir)
            return backends.load(spec, self.job.options)

    @cached_property
    def precision(self) -> Precision:
        """The precision that the cell names."""
        with self.at(Stage.BUILD):
            return cell_precision(self.backend, self.job.cell.precision)

    @cached_property
    def dynamic(self) -> bool:
        """Whether a program takes other shapes than those that it was prepared for."""
        return border.flag(self.backend, "dynamic", otherwise=True)

    @cached_property
    def case(self) -> Case:
        """The case, as a session makes it.

        Raises:
            UncheckedError: the environment does not have the model, or the backend refuses it.
        """
        backend = self.backend
        with self.at(Stage.INPUTS):
            return made_case(backend, self.job)

    @cached_property
    def other_case(self) -> Case:
        """The same model with other weights."""
        backend = self.backend
        with self.at(Stage.INPUTS):
            return made_case(backend, replace(self.job, seed=self.job.seed + 1))

    @cached_property
    def base(self) -> Arrays:
        """The plain example, read-only."""
        return self.inputs("base")

    def inputs(self, variant: str) -> Arrays:
        """One variant of the inputs, read-only."""
        case = self.case
        with self.at(Stage.INPUTS):
            return {n: border.read_only(a) for n, a in case.inputs(variant).items()}

    @cached_property
    def reference(self) -> Reference:
        """The reference, its noise floor included."""
        case, precision = self.case, self.precision
        plain = {variant: self.inputs(variant) for variant in ("base", "other")}
        with self.at(Stage.REFERENCE):
            return make_reference(
                case, plain, precision, self.job, self.progress, dynamic=False, any_arguments=False
            )

    @cached_property
    def progress(self) -> CellProgress:
        """The record that the checks of a cell want."""
        return self.new_progress()

    def new_progress(self) -> CellProgress:
        """An empty record of the cell."""
        entry = self.job.cell.entry
        result = CellResult(
            entry.name,
            entry.family,
            entry.architecture,
            self.job.cell.head,
            self.job.cell.precision,
            Stage.VERIFY,
            Outcome.PASS,
        )
        return CellProgress(result, lambda stage, failures: None)

    def prepare(self, case: Case) -> Any:
        """A program of a case, held to nothing."""
        backend, precision = self.backend, self.precision
        with self.at(Stage.PREPARE):
            return backend.prepare(case, precision)

    @cached_property
    def prepared(self) -> Any:
        """The program of the case, held to nothing."""
        return self.prepare(self.case)

    @cached_property
    def program(self) -> CheckedProgram:
        """The program of the case; each inference is held to the contract, dtypes apart."""
        return self.checked(self.prepared)

    def checked(self, prepared: Any, dtypes: Mapping[str, Any] | None = None) -> CheckedProgram:
        """A program whose inferences are held to the contract."""
        with self.at(Stage.PREPARE):
            return CheckedProgram(prepared, dtypes or {}, self.precision)

    @cached_property
    def first(self) -> Arrays:
        """The outputs of the first inference, on the plain example."""
        program, base = self.program, self.base
        with self.at(Stage.RUN):
            return program(base)

    def hold(self, name: str, got: Arrays, want: Arrays, inputs: Mapping[str, Array]) -> float:
        """Hold outputs on some inputs against others, by the noise floor; returns the score.

        Raises:
            CheckFailed: they differ by more than the limit.
        """
        given = dict(inputs)
        floored = with_own_floor(self.reference, got, want, lambda noisy: noisy(given))
        result = replace(self.progress.result, score=0.0)
        compare(name, got, want, floored, result)
        return result.score or 0.0


def made_case(backend: Backend, job: Job) -> Case:
    """The case of a cell, for a check that needs one.

    Raises:
        UncheckedError: the environment does not have the model, or the backend refuses it.
    """
    try:
        return cell_case(backend, job)
    except (Absent, Unsupported) as error:
        raise UncheckedError(f"{type(error).__name__}: {error}") from error


def shown_names(names: Sequence[str]) -> str:
    """Names in a message, separated by commas."""
    return ", ".join(names) or "none"
