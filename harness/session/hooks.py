"""Pytest hooks of a run: collection, the loop over the items, reports and summary.

Cells run in child processes, ahead of pytest and in its order (`harness.session.run`); an item
waits for its cell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import pytest

from harness.contract import GREEN, CellResult, HarnessError, Outcome
from harness.session import junit, summary
from harness.session.cost import Cost
from harness.session.header import header
from harness.session.interruption import Interruption
from harness.session.items import CellItem, FailureReport, ModelList
from harness.session.options import options_of
from harness.session.progress import ProgressLine
from harness.session.run import Run
from harness.toolkit import printable

#: Seconds between two drawings of the progress line, while waiting for a cell.
TICK = 0.2


class RunHooks:
    """Hooks of the pytest plugin while a backend is chosen.

    Attributes:
        NAME: of the plugin, in pytest's plugin manager.
        options: of the run.
        run: the run that the hooks drive.
    """

    NAME = "harness-run"

    def __init__(self, config: pytest.Config, backend: str) -> None:
        self.config = config
        self._updated = ""
        self._cost = Cost(0.0, 0.0)
        self._futures: dict[str, Future[CellResult]] = {}
        self._progress = ProgressLine(None, 0, live=False)
        self._ended = False
        self._cells = 0  # that are selected
        self._in_other_shards = 0  # cells
        self._interruption = Interruption()
        self._interruption.watch()
        try:
            self.options = options_of(config, backend)
            self.run = Run(self.options)
        except HarnessError as error:
            self._interruption.restore()
            raise _usage_error(error) from error

    # --- Collection ---------------------------------------------------------------------------

    def pytest_sessionstart(self) -> None:
        """Start the fork server, which imports while pytest collects."""
        if self.config.option.collectonly:
            return
        try:
            self.run.warm()
        except HarnessError as error:
            raise _usage_error(error) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Ask for the precisions, where the cells to collect follow from them."""
        try:
            self.run.precisions()
        except HarnessError as error:
            raise _usage_error(error) from error

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """The collector for a file of `model_lists/`."""
        if file_path in set(self.run.catalog.files.values()):
            return ModelList.from_parent(
                parent, path=file_path, run=self.run, result_of=self._result
            )
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Deselect the cells of other shards, once `-k` and the like have chosen among all."""
        mine: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            elsewhere = isinstance(item, CellItem) and (
                item.cell.entry.name not in self.run.chosen.of_shard
            )
            (others if elsewhere else mine).append(item)
        self._in_other_shards = len(others)
        if others:
            items[:] = mine
            self.config.hook.pytest_deselected(items=others)
        if not self.config.option.collectonly:
            self._plan(items)

    def _plan(self, items: list[pytest.Item]) -> None:
        """Order the cells by their checkpoints, and deselect what the policy has done before."""
        cells = {item.cell.id: item for item in items if isinstance(item, CellItem)}
        try:
            planned = self.run.plan([item.cell for item in cells.values()])
        except HarnessError as error:
            raise _usage_error(error) from error
        done = [cells[cell.id] for cell in self.run.supply.done_before]
        if done:
            self.config.hook.pytest_deselected(items=done)
        if self.run.options.pretrained is not None:
            items[:] = [cells[cell.id] for cell in planned]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ask for the device, now that there are cells to run."""
        cells = [item.cell for item in session.items if isinstance(item, CellItem)]
        if self.config.option.collectonly or session.testsfailed or not cells:
            return
        try:
            self.run.ask()
        except HarnessError as error:
            raise _usage_error(error) from error
        absence = self.run.absence
        if absence is not None and self.config.option.require_device:
            pytest.exit(printable.block(f"--require-device: {absence}"), returncode=1)

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """The header of the run."""
        if self.config.option.verbose < 0:
            return []
        return header(self.run, [item.cell for item in items if isinstance(item, CellItem)])

    # --- Running ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Start the cells; pytest's own loop then goes through the items."""
        self._start(session)
        try:
            done = yield
        except (session.Failed, session.Interrupted, KeyboardInterrupt):
            self._interruption.close()
            self._report_ended(session.items)
            raise
        self._interruption.close()
        return done

    def _report_ended(self, items: Sequence[pytest.Item]) -> None:
        """Have pytest report the cells that ended before the run was stopped, as after `-x`.

        Cells run ahead of pytest. What is stored, and what pytest counts, is then the same.
        """
        self.run.stop()
        if self.run.error is not None:
            return
        for item in items:
            future = self._futures.get(item.nodeid)
            ended = future is not None and future.done() and not future.cancelled()
            if isinstance(item, CellItem) and item.result is None and ended:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def _start(self, session: pytest.Session) -> None:
        option = self.config.option
        items = [item for item in session.items if isinstance(item, CellItem)]
        self._cells = len(items)
        reporter = self._reporter()
        if reporter is not None and option.verbose <= 0:
            reporter.showfspath = False
        quiet = option.verbose != 0 or reporter is None or bool(option.repro)
        self._progress = ProgressLine(
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
            raise _usage_error(error) from error
        if self.run.note and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"NOTE: {self.run.note}", yellow=True)
        for item, future in zip(items, futures, strict=True):
            self._futures[item.nodeid] = future
            future.add_done_callback(self._count)
        self._reorder(session.items)

    def _reorder(self, items: list[pytest.Item]) -> None:
        """Have pytest go through the cells in the order in which they start."""
        places = {cell.id: place for place, cell in enumerate(self.run.order)}
        items.sort(key=lambda i: places[i.cell.id] if isinstance(i, CellItem) else -1)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Wait for the item's cell, outside of pytest's capturing, and show the progress line."""
        future = self._futures.get(item.nodeid)
        while future is not None and not future.done():
            self._progress.show(self.run.running(), self.run.supply.status())
            wait_for([future], timeout=TICK)  # with one, so that Windows lets Ctrl-C through
            self._interruption.check()
        if isinstance(self.run.error, HarnessError):
            pytest.exit(printable.block(str(self.run.error)), returncode=1)
        if self.run.error is not None:
            raise self.run.error
        self._progress.show(self.run.running())
        return (yield)

    def _count(self, future: Future[CellResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._progress.add(future.result())

    def _result(self, item: CellItem) -> CellResult:
        """The result of an item's cell, which has ended; with `--repro` the cell runs only now.

        With `--localise`, its culprit is searched for here, while other cells run.
        """
        if self.config.option.repro:
            capture = self.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                return self.run.here(item.cell)
        future = self._futures[item.nodeid]
        if future.cancelled():
            pytest.skip(self.run.held_back(item.cell))
        result = future.result()
        self.run.localise(item.cell, result)
        return result

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
        """Leave pytest's dots out without `-v`: the progress line says more."""
        if config.option.verbose > 0 or report.when != "call" or self._ended:
            return None
        if hasattr(report, "wasxfail"):
            return "xfailed", "", ""
        return report.outcome, "", ""

    # --- The end ------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Kill running cells, close the results file, rewrite the expectations."""
        self._interruption.close()
        self._progress.clear()
        self._ended = True
        finished = (
            exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
            and self._interruption.number is None
        )
        self._cost = self.run.cost()
        cells = [item.cell for item in session.items if isinstance(item, CellItem)]
        junit.add_suite_properties(self.config, junit.suite_properties(self.run, cells))
        try:
            self.run.close(complete=finished and not session.shouldfail)
            if self.config.option.update_expectations and self.run.results and finished:
                changed = self.run.update_expectations()
                self._updated = "rewritten" if changed else "unchanged"
        except HarnessError as error:
            self._updated = ""
            sys.stderr.write(printable.block(f"ERROR: {error}") + "\n")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        nothing_left = self._in_other_shards or self.run.supply.done_before
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and nothing_left:
            session.exitstatus = pytest.ExitCode.OK
        if exitstatus == pytest.ExitCode.OK and self.options.shard == (1, 1) and self._all_absent:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if self._interruption.number is not None:
            session.exitstatus = self._interruption.status

    def pytest_unconfigure(self) -> None:
        """Kill running cells and close the results file where the session did not get so far."""
        self.run.close(complete=False)
        self._interruption.restore()

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        """The summary of the run."""
        if self.config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        verbosity = self.config.option.verbose
        selection = summary.Selection(self._cells, self._in_other_shards)
        title, lines = summary.summarise(self.run, self._cost, verbosity, self._updated, selection)
        if verbosity >= 0:
            ran = bool(self.run.results) and not self._all_absent
            green = ran and all(result.verdict in GREEN for result in self.run.results)
            terminalreporter.write_sep("=", title, green=green, red=not green)
        for line in lines:
            terminalreporter.write_line(line)
        if self.run.error is not None:
            terminalreporter.write_line(printable.block(f"ERROR: {self.run.error}"), red=True)
        on_ci = {"CI", "BUILD_NUMBER"} & os.environ.keys()  # where pytest cuts nothing
        cut = [] if on_ci or verbosity > 1 else terminalreporter.stats.get("failed", [])
        for report in cut:
            drop_cut_line(report, terminalreporter._tw.fullwidth)

    @property
    def _all_absent(self) -> bool:
        """Whether cells were asked for, and the environment lacks every one."""
        results = self.run.results
        return bool(results) and all(result.outcome is Outcome.ABSENT for result in results)

    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        return reporter if isinstance(reporter, pytest.TerminalReporter) else None


def drop_cut_line(report: pytest.TestReport, width: int) -> None:
    """Take the line of pytest's short summary away where verdict and stage have no room beside it.

    pytest cuts it to the terminal's width, so that `ne...` is left of `new: fail at verify`.

    Args:
        report: of a cell that failed.
        width: of the terminal, in characters.
    """
    failure = report.longrepr
    if not isinstance(failure, FailureReport):
        return
    if len(f"FAILED {report.nodeid} - {failure.headline}...") > width:
        failure.reprcrash = None


def _usage_error(error: HarnessError) -> pytest.UsageError:
    return pytest.UsageError(printable.block(str(error)))
