"""The cells of one backend as pytest items, so that pytest's own options work on cells.

They run in children, ahead of pytest and in its order (`harness.session.run`); an item waits for
its cell.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.contract import GREEN, Cell, CellResult, HarnessError, Outcome, Verdict
from harness.session import summary
from harness.session.options import options_of
from harness.session.progress import Progress
from harness.session.run import Cost, Run

#: Exit status after Ctrl-C, as shells have it.
INTERRUPTED = 130
#: Seconds between two looks at what is running, while waiting for a cell.
TICK = 0.2


class Failed(Exception):
    """A cell whose verdict is not green."""

    def __init__(self, result: CellResult, text: str) -> None:
        super().__init__(result.reason)
        self.result = result
        self.text = text


class ModelList(pytest.File):
    """One file of `model_lists/`."""

    def collect(self) -> Iterator[CellItem]:
        """An item for each cell of each selected entry in it."""
        run = _matrix(self.config).run
        for name, path in run.catalog.files.items():
            if path == self.path and name in run.selected:
                for cell in run.cells(run.catalog.entries[name]):
                    # As a text, so that what is in brackets is parsed as pytest's cache does it.
                    nodeid = f"{self.nodeid}::{cell.id}"
                    yield CellItem.from_parent(self, name=cell.id, cell=cell, nodeid=nodeid)


class CellItem(pytest.Item):
    """One cell."""

    def __init__(self, *, cell: Cell, **rest: Any) -> None:
        super().__init__(**rest)
        self.cell = cell
        self.result: CellResult | None = None

    def runtest(self) -> None:
        """Turn the cell's verdict into pytest's outcome."""
        matrix = _matrix(self.config)
        if matrix.run.absence is not None:
            pytest.skip(str(matrix.run.absence))
        result = self.result = matrix.result(self)
        self.user_properties += [
            ("stage", result.stage.value),
            ("outcome", result.outcome.value),
            ("verdict", str(result.verdict)),
            *([("fallback", result.fallback)] if result.fallback else []),
        ]
        if result.verdict not in GREEN:
            raise Failed(result, summary.explain(matrix.run, result))
        if result.outcome is Outcome.ABSENT:
            pytest.skip(result.reason)
        if result.verdict is Verdict.XFAIL:
            pytest.xfail(f"{result.outcome} at {result.stage}: {result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a person needs of a failed cell, and no Python of ours."""
        if isinstance(excinfo.value, Failed):
            return FailureText(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the cell comes from."""
        return self.path, None, self.name


@dataclass(frozen=True, slots=True)
class Crash:
    """What pytest's one-line summaries read of a failure."""

    message: str


class FailureText:
    """A failure as pytest shows it: the text, and one line for the short summary."""

    def __init__(self, failed: Failed) -> None:
        result = failed.result
        self.text = failed.text
        self.reprcrash = Crash(
            f"{result.verdict}: {result.outcome} at {result.stage}: {result.reason}"
        )

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: Any) -> None:
        """Write it to a terminal."""
        for line in self.text.splitlines():
            writer.line(line)


class Matrix:
    """The plugin's hooks while a backend is chosen."""

    NAME = "harness-matrix"

    def __init__(self, config: pytest.Config, backend: str) -> None:
        self.config = config
        self._updated = ""
        self._cost = Cost(0.0, 0.0)
        self._futures: dict[str, Future[CellResult]] = {}
        self._progress = Progress(None, 0, live=False)
        self._interrupted = False
        self._ended = False
        try:
            self.options = options_of(config, backend)
            self.run = Run(self.options)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    # --- Collection ---------------------------------------------------------------------------

    def pytest_sessionstart(self) -> None:
        """Let the fork server import while pytest collects."""
        if not self.config.option.collectonly:
            self.run.warm()

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """A collector for each file that a model list of the catalog is."""
        if file_path in set(self.run.catalog.files.values()):
            return ModelList.from_parent(parent, path=file_path)
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ask for the device, and begin, now that it is known what is to run."""
        cells = [item.cell for item in session.items if isinstance(item, CellItem)]
        if self.config.option.collectonly or session.testsfailed or not cells:
            return
        try:
            self.run.ask()
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error
        absence = self.run.absence
        if absence is not None and self.config.option.require_device:
            pytest.exit(f"--require-device: {absence}", returncode=1)

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """What will run, where, and within which limits."""
        if self.config.option.verbose < 0:
            return []
        return summary.begin(self.run, [i.cell for i in items if isinstance(i, CellItem)])

    # --- Running ------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the pool; pytest's own loop then goes through the items."""
        option = self.config.option
        items = [item for item in session.items if isinstance(item, CellItem)]
        reporter = self._reporter()
        if reporter is not None and option.verbose <= 0:
            reporter.showfspath = False
        quiet = option.verbose != 0 or reporter is None or bool(option.repro)
        self._progress = Progress(
            None if quiet else reporter,
            len(items),
            live=bool(reporter is not None and reporter.isatty()),
            width=getattr(getattr(reporter, "_tw", None), "fullwidth", 80),
        )
        failed = session.testsfailed and not option.continue_on_collection_errors
        if option.collectonly or failed or not items or self.run.absence is not None:
            return
        try:
            if option.repro:
                self.run.open()
                return
            futures = self.run.start([item.cell for item in items])
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error
        for item, future in zip(items, futures, strict=True):
            self._futures[item.nodeid] = future
            future.add_done_callback(self._count)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Wait for the cell, outside of pytest's capturing, and show how far the run is."""
        future = self._futures.get(item.nodeid)
        while future is not None and not future.done():
            self._progress.show(self.run.running())
            wait_for([future], timeout=TICK)  # with one, so that Windows lets Ctrl-C through
        if isinstance(self.run.error, HarnessError):
            pytest.exit(str(self.run.error), returncode=1)
        if self.run.error is not None:
            raise self.run.error
        self._progress.show(self.run.running())
        return (yield)

    def _count(self, future: Future[CellResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._progress.add(future.result())

    def result(self, item: CellItem) -> CellResult:
        """The result of an item's cell, which has ended; with `--repro` it runs only now."""
        if self.config.option.repro:
            capture = self.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                return self.run.here(item.cell)
        return self._futures[item.nodeid].result()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report the cell's own duration, not the time that pytest waited for it."""
        report = yield
        if isinstance(item, CellItem) and item.result is not None and report.when == "call":
            report.duration = item.result.seconds
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, str] | None:
        """Without `-v`, no dots: the progress line says more."""
        if config.option.verbose > 0 or report.when != "call" or self._ended:
            return None
        if hasattr(report, "wasxfail"):
            return "xfailed", "", ""
        return report.outcome, "", ""

    # --- The end ------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that it was Ctrl-C, and not a `pytest.exit`."""
        self._interrupted = isinstance(excinfo.value, KeyboardInterrupt)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Stop what runs, close the results, rewrite the expectations."""
        self._progress.clear()
        self._ended = True
        finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self._cost = self.run.cost()
        try:
            self.run.close(complete=finished and not session.shouldfail)
            if self.config.option.update_expectations and self.run.results and finished:
                changed = self.run.update_expectations()
                self._updated = "rewritten" if changed else "unchanged"
        except HarnessError as error:
            self._updated = ""
            sys.stderr.write(f"ERROR: {error}\n")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._interrupted:
            session.exitstatus = INTERRUPTED

    def pytest_unconfigure(self) -> None:
        """Stop what runs, also where the session never got to its end."""
        self.run.close(complete=False)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        """Totals, causes, cost, and where the results lie."""
        if self.config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        verbosity = self.config.option.verbose
        title, lines = summary.end(self.run, self._cost, verbosity, self._updated)
        if verbosity >= 0:
            green = bool(self.run.results) and all(r.verdict in GREEN for r in self.run.results)
            terminalreporter.write_sep("=", title, green=green, red=not green)
        for line in lines:
            terminalreporter.write_line(line)
        if self.run.error is not None:
            terminalreporter.write_line(f"ERROR: {self.run.error}", red=True)

    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        return reporter if isinstance(reporter, pytest.TerminalReporter) else None


def _matrix(config: pytest.Config) -> Matrix:
    matrix = config.pluginmanager.getplugin(Matrix.NAME)
    assert isinstance(matrix, Matrix)
    return matrix
