"""Run of one backend, from the options to judged and stored results; without pytest."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.catalog import backends, checkpoints
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.selection import Catalog
from harness.cell.request import DeviceReport, Job, ProbeRequest
from harness.cluster.cluster_pool import ClusterPool
from harness.cluster.facts import machine_of
from harness.cluster.schedule import Schedule
from harness.contract import (
    CHECKPOINT_SIZE,
    Cell,
    CellFailure,
    CellResult,
    Entry,
    Metric,
    Outcome,
    Stage,
    Unavailable,
    Verdict,
)
from harness.results import attempts
from harness.results.expectations import device_text
from harness.results.last_results import LastResult, ResultKey
from harness.results.store import Store
from harness.results.stored_durations import StoredDuration
from harness.session import known_failures, on_cluster
from harness.session.cell_name import CellName, name_of
from harness.session.changed import ResultKeys, Unchanged
from harness.session.checkpoint_supply import CheckpointSupply
from harness.session.chosen_entries import ChosenEntries, names_of
from harness.session.cost import Cost, cost_since
from harness.session.jobs import Jobs
from harness.session.localising import culprit_of, is_followed
from harness.session.option_checks import check_faults, check_heads, check_precisions
from harness.session.options import Options
from harness.session.preloading import preloaded_modules
from harness.session.provenance import lock_of, run_info
from harness.session.rerun_command import rerun_command
from harness.session.staggered import staggered
from harness.session.start_order import start_order
from harness.session.time_limits import with_own_limit
from harness.session.untouched import Untouched
from harness.toolkit.cache import Cache
from harness.toolkit.process_memory import MB
from harness.workers import cell_result, device_probe, fork_server
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task, TaskStatus
from harness.workers.task_endings import settings_of


class Run:
    """The cells of one backend, run in children, judged and stored as they end.

    Attributes:
        options: of the run.
        spec: the backend's folder and its settings.
        catalog: the model lists.
        expectations: the known failures of the backend.
        chosen: the entries that the options select, and those of this shard.
        results: the stored results, in the order in which cells ended.
        absence: why the backend cannot run here; None where it can, as far as is known.
        device: the device and the precisions of the backend, once `ask` has asked.
        cache: the backend's cache, as of converted and compiled models.
        run_id: the key of the run in its results.
        jobs: the requests of the cells to their children.
        supply: of checkpoints, for `--weights pretrained`.
        untouched: the cells that need not run.
        note: what a person must know of the results file, as that it was set aside; else empty.
        settings: of the child processes.

    Raises:
        HarnessError: the backend, a list, the expectations or an option is wrong.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.spec: BackendSpec = backends.find(options.backend, options.backends)
        self.catalog: Catalog = options.lists.catalog()
        self.own = options.lists.own_names(self.catalog)
        chosen = ChosenEntries(options, self.spec, self.catalog)
        self.chosen = chosen
        self.untouched = Untouched(options, self.spec)
        self.expectations = known_failures.known_failures(
            self.spec, options, self.catalog, chosen.usual
        )
        self.results: list[CellResult] = []
        self.absence = _absence_here(self.spec, options)
        self.device: DeviceReport | None = None
        self.cache = Cache.of(options.backend_options)
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.settings = replace(
            settings_of(self.spec, options.limits.seconds, options.workers),
            limits=options.limits,
            shared=self.spec.worker == "shared",
            # Which cells a change touches, and what these need, is not known yet.
            preload=(
                ()
                if self.untouched.asked and options.cluster is None
                else self._preloaded(chosen.of_shard)
            ),
        )
        self.note = ""
        promised = self.expectations.promised
        self.jobs = Jobs(self.spec, options, self.run_id, self.own, promised)
        self.supply = CheckpointSupply(options)
        self._began = time.monotonic()
        self._started = 0  # cells
        self._store: Store | None = None
        self._storing = threading.Lock()  # cells end in another thread than they are localised in
        self._pool: Pool[CellResult] | ClusterPool[CellResult] | None = None
        self.cluster = on_cluster.connection_of(self.spec, options, self.settings.preload)
        self._history: Mapping[CellName, Outcome] = {}
        self.last: Mapping[CellName, LastResult] = {}
        self._flaky_runs: Mapping[CellName, int] = {}
        self._stored_durations: Mapping[CellName, StoredDuration] = {}
        self.order: Sequence[Cell] = ()  # in which cells start
        self._attempts: dict[CellName, list[CellResult]] = {}
        self.unchanged: Unchanged | None = None  # once `open` has read the last results
        self._keys: ResultKeys | None = None
        check_faults(self.spec, self.catalog, options)
        check_heads(self.catalog, options)
        if options.checkpoints is not None:
            names = names_of(self.catalog, options.models or self.spec.models)  # of every shard
            entries = [self.catalog.entries[name] for name in names]
            checkpoints.check_any(options.checkpoints, entries)

    @property
    def path(self) -> Path:
        """The results file."""
        return self.options.results / f"{self.spec.name}.duckdb"

    @property
    def error(self) -> BaseException | None:
        """The exception that stopped the run, such as of a full disk; None while it goes on."""
        return self._pool.error if self._pool is not None else None

    @property
    def schedule(self) -> Schedule | None:
        """The schedule of the cells on a cluster's nodes; None where this machine runs them."""
        return self._pool.schedule if isinstance(self._pool, ClusterPool) else None

    @property
    def fallback(self) -> str:
        """The stand-in for a missing device, such as `cpu`; empty where there is none."""
        return self.device.device.fallback if self.device is not None else ""

    @property
    def faults(self) -> str:
        """The injected faults (`--fault`), such as `crash=bert`; empty where there are none."""
        return self.options.backend_options.get("fault", "")

    def warm(self) -> None:
        """Let the fork server begin to import, while the caller does something else."""
        if self.cluster is not None:
            self.cluster.open()
        elif self.absence is None:
            fork_server.start_server(self.settings)

    def ask(self) -> None:
        """Ask the backend for its device, in a child process, and set `device` or `absence`.

        Raises:
            HarnessError: the backend's packages are missing, its code fails, or it lacks a
                precision.
        """
        if self.device is None and self.absence is None:
            try:
                self.device = self._ask_device()
            except Unavailable as absence:
                self.absence = absence
        if self.device is not None:
            check_precisions(self.spec, self.options, self.device)
            here = device_text(self.device.device)
            dtypes = {precision.name: precision.dtype for precision in self.device.precisions}
            self.expectations = replace(self.expectations, device=here, dtypes=dtypes)

    def _ask_device(self) -> DeviceReport:
        if self.cluster is not None:
            found = self.cluster.device()
            self.settings = replace(self.settings, workers=max(1, self.cluster.slots))
            return found
        # Importing an SDK is no cell: `--timeout 5` must not keep it from answering.
        settings = replace(self.settings, limits=Limits())
        return device_probe.probe(self._probe_request(), settings)

    def precisions(self) -> tuple[str, ...]:
        """The precisions to run, by name."""
        if self.options.precisions != ("all",):
            return self.options.precisions
        self.ask()
        if self.device is None:
            return ("default",)
        return tuple(precision.name for precision in self.device.precisions)

    def patience(self) -> dict[str, float]:
        """The factor on the limit on time for each precision, by name."""
        offered = self.device.precisions if self.device is not None else ()
        return {precision.name: precision.patience for precision in offered}

    def cells(self, entry: Entry) -> list[Cell]:
        """The cells of one entry: the headless model, then its heads."""
        return [
            Cell(entry, self.spec.name, precision, head)
            for head in entry.built
            if self.chosen.has_head(head)
            for precision in self.precisions()
        ]

    def plan(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells to run, in their order: as given, or by the size of their checkpoints.

        With `--policy`, cells that have run with their checkpoint and these pins are left out.

        Raises:
            HubUnreachable: the hub does not answer.
            HarnessError: this environment lacks `huggingface_hub`.
        """
        lock = lock_of(self.spec, self.options.instead)
        return self.supply.plan(cells, self.path, lock)

    def open(self) -> None:
        """Open the results file; after `ask`, which must have found a device.

        Raises:
            HarnessError: the results file cannot be written.
        """
        if self.device is None:
            raise RuntimeError("`ask` comes first, and finds a device")
        self._store = Store.open(self.path)
        self.note = self._store.note
        size = self.options.size_of_models
        self._history = self._store.last_green(self.spec.name, self.fallback, size)
        self._flaky_runs = self._store.flaky_runs(self.spec.name, self.fallback, size)
        where = self.cluster.kind if self.cluster is not None else None
        self._keys = ResultKeys(self.spec, self.device.device, machine_of(where))
        last = self._store.last_results(self.spec.name, self.fallback, size)
        self.last = last
        self._stored_durations = self._store.durations(self.spec.name, self.fallback, size)
        self.unchanged = self.untouched.open(last, self._keys, self.catalog, self.expectations)
        host = self.cluster.host() if self.cluster is not None else ""
        device = self.device.device
        self._store.begin(run_info(self.run_id, self.spec, device, self.options, host))
        self.jobs.load()

    def start(self, cells: Sequence[Cell]) -> list[Future[CellResult]]:
        """Open the results file and start the cells; returns one future a cell, in the same order.

        Raises:
            HarnessError: the results file cannot be written.
        """
        self.open()
        # Checkpoints are wanted in the order of the plan.
        self.order = list(cells) if self.supply.wanted else self._start_order(cells)
        tasks = [self.task(cell) for cell in self.order]
        if self.untouched.asked:
            tasks = self._remaining(tasks)
        self._pool = self._new_pool()
        self._started = len(tasks)
        started = dict(zip((task.label for task in tasks), self._pool.start(tasks), strict=True))
        futures = [started.get(cell.id) or _not_run() for cell in cells]
        if self.supply.wanted:
            of_entry: dict[str, list[Future[CellResult]]] = {}
            for cell, future in zip(cells, futures, strict=True):
                of_entry.setdefault(cell.entry.name, []).append(future)
            self.supply.start(of_entry)
        return futures

    def _start_order(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells in the order in which they start: the longest first."""
        if self.options.as_given:
            return staggered(cells, self.settings.workers)
        stored = {name: known.usual for name, known in self._stored_durations.items()}
        seconds = {**self.chosen.recorded, **stored}
        return start_order(cells, seconds, self.settings.workers)

    def task(self, cell: Cell) -> Task:
        """The task of a cell, with a limit on time by what it took before."""
        patience = self.patience()[cell.precision]
        task = Task(cell_result.RUN_CELL, self.job(cell), cell.id, patience)
        if not self.options.own_limits:
            return task
        return with_own_limit(task, self._stored_durations.get(name_of(cell)), self.settings.limits)

    def _preloaded(self, names: Iterable[str]) -> tuple[str, ...]:
        """The modules that the fork server imports for some entries."""
        entries = [self.catalog.entries[name] for name in names]
        return preloaded_modules(self.spec, self.options.precisions, entries)

    def _remaining(self, tasks: Sequence[Task]) -> list[Task]:
        """Those whose result would not come again for sure, with a fork server for them."""
        left = [task for task in tasks if not self.untouched.leave_out(self.jobs[task.label])]
        if self.cluster is not None:
            return left
        names = dict.fromkeys(self.jobs[task.label].cell.entry.name for task in left)
        self.settings = replace(self.settings, preload=self._preloaded(names))
        fork_server.end_server()  # the one that answered for the device has imported nothing
        return left

    def _new_pool(self) -> Pool[CellResult] | ClusterPool[CellResult]:
        if self.cluster is not None:
            return ClusterPool(self._finish_cell, self.cluster, self._wants_another)
        if not self.settings.shared:
            return Pool(self._finish_cell, self.settings, self._wants_another, self._admit)
        device = self.device.device if self.device is not None else None
        chosen = "device" in self.options.backend_options
        units = () if device is None or device.fallback or chosen else device.units
        probe = Task(device_probe.PROBE, self._probe_request(), f"probe of {self.spec.name}")
        settings = replace(self.settings, units=units)
        return SharedPool(self._finish_cell, settings, probe, self._wants_another, self._admit)

    def _admit(self, task: Task) -> Task | None:
        """A cell's task with its checkpoint; None while that is being downloaded."""
        if not self.supply.wanted:
            return task
        found = self.supply.fetched(self.jobs[task.label].cell.entry.name)
        if found is None:
            return None
        return replace(task, argument=self.jobs.supplied(task.label, found))

    def held_back(self, cell: Cell) -> str:
        """Why a cell was not run: nothing has changed, or its checkpoint was not begun."""
        if untouched := self.untouched.note(cell):
            return untouched
        reason = self.supply.held(cell.entry.name)
        return f"not begun: {reason or 'the run ended'}. The same command goes on from here"

    def _probe_request(self) -> ProbeRequest:
        return ProbeRequest(self.spec.name, self.spec.folder.parent, self.options.backend_options)

    def here(self, cell: Cell) -> CellResult:
        """Run a cell in this process, without limits, so that breakpoints work."""
        from harness.cell import stages  # only children import it otherwise

        def report(stage: Stage, failures: Sequence[CellFailure]) -> None:
            print(f"{cell.id}: {stage}", flush=True)

        job = self.job(cell)
        if self.supply.wanted:
            job = self.jobs.supplied(cell.id, self.supply.wait(cell.entry.name))
        began = time.monotonic()
        result = stages.run(job, report)
        ending = Ending(None, result.stage, time.monotonic() - began, value=result)
        return self._finish_cell(Task(cell_result.RUN_CELL, self.jobs[cell.id], cell.id), ending)

    def running(self) -> list[TaskStatus]:
        """The cells that are running now."""
        return self._pool.running() if self._pool is not None else []

    def stop(self) -> None:
        """Cancel waiting cells and kill running ones; cells that have ended are stored.

        A download is given up; what is complete of it is kept.
        """
        self.supply.stop()
        if self._pool is not None:
            self._pool.close()

    def close(self, *, complete: bool) -> None:
        """Kill running cells, close the results file, end every process. Safe to call twice.

        Args:
            complete: whether the run came to its end. An interrupted run gets no end time, nor
                does one that lacks the result of a cell.
        """
        try:
            self.stop()
            self._close_store(complete=complete)
        finally:
            if self.cluster is not None:
                self.cluster.close()
            fork_server.end_session()

    def _close_store(self, *, complete: bool) -> None:
        if self._store is not None:
            try:
                if complete and self.error is None and len(self.results) >= self._started:
                    self._store.finish(self.run_id)
            finally:
                self._store.close()
                self._store = None

    def cost(self) -> Cost:
        """The cost of the run so far, with that of all processes that it started."""
        return cost_since(self._began)

    def update_expectations(self) -> bool:
        """Rewrite the backend's `expectations.toml` for the cells that ran.

        Returns:
            Whether that changed the file.

        Raises:
            HarnessError: the file cannot be written, or the run says nothing of the backend as it
                is. The file is then as it was.
        """
        foreign = known_failures.is_foreign(self.spec, self.options, self.catalog)
        known_failures.check_rewritable(self.spec, self.options, self.fallback, foreign=foreign)
        return known_failures.rewrite(self.expectations, self.spec, self.results)

    def rerun(self, result: CellResult) -> str:
        """The command that runs this cell alone."""
        return rerun_command(result, self.catalog.entries[result.entry], self.spec, self.options)

    def job(self, cell: Cell) -> Job:
        """The request to a child process that runs a cell."""
        return self.jobs.make(cell, self.fallback)

    def _finish_cell(self, task: Task, ending: Ending) -> CellResult:
        """Judge and store a cell that has ended, with what its earlier attempts found."""
        job = self.jobs[task.label]
        attempt = cell_result.result_of(job, ending)
        if job.revision:
            size = self.supply.size(job.cell.entry.name)
            attempt.metrics.append(Metric(CHECKPOINT_SIZE, size / MB, "MB"))
        key = name_of(attempt)
        tried = self._attempts.setdefault(key, [])
        tried.append(attempt)
        result = attempts.combined(tried)
        result.verdict = self.expectations.judge(result, self._history.get(key))
        if self.fallback:
            result.fallback, result.device_share = self.fallback, 0.0
            if result.verdict is Verdict.IMPROVED:  # where the device would still fail
                result.verdict = Verdict.OK
        if self._store is None:
            raise RuntimeError("a cell ended after the results were closed")
        again = len(tried) > 1
        if not again and self.unchanged is not None:
            self.unchanged.compare(job, result)
        with self._storing:
            self._store.add(self.run_id, result, self._key_of(job, result), again=again)
        if again:
            before = next(n for n, other in enumerate(self.results) if name_of(other) == key)
            self.results[before] = result
        else:
            self.results.append(result)
        return result

    def _key_of(self, job: Job, result: CellResult) -> ResultKey | None:
        """The key of a result: of all that it follows from."""
        return self._keys.key(job, result.code) if self._keys is not None else None

    def localise(self, cell: Cell, result: CellResult) -> None:
        """Search for the part of a failed cell that fails, and store it with the cell.

        Nothing is done unless `--localise` asks for it, and where the backend has not failed at
        `run` or `verify`.

        Raises:
            HarnessError: it could not be written.
        """
        if not (self.options.localise and is_followed(result)):
            return
        job = self.jobs[cell.id]
        result.culprit = culprit_of(job, self.settings)
        with self._storing:
            if self._store is not None:
                self._store.add(self.run_id, result, self._key_of(job, result), again=True)

    def _wants_another(self, task: Task, result: CellResult) -> bool:
        """Whether a cell that has ended is to be run again (`--repeat`).

        The last cell of an entry frees its checkpoint.
        """
        if attempts.wants_another(result, len(self.attempts(result)), self.options.repeat):
            return True
        self.supply.cell_ended(result.entry)
        return False

    def attempts(self, result: CellResult) -> Sequence[CellResult]:
        """The results of each attempt at the cell of a result, in their order."""
        return self._attempts.get(name_of(result), [])

    def flaky_runs(self, result: CellResult) -> int:
        """In how many runs before this one the cell of a result was flaky."""
        return self._flaky_runs.get(name_of(result), 0)


def _absence_here(spec: BackendSpec, options: Options) -> Unavailable | None:
    """Why the backend cannot run on this machine, as far as that is known without its SDK."""
    if options.cluster is not None:  # whose nodes are asked
        return None
    if options.backend_options.get("fallback"):  # its SDK is asked, here too
        return spec.missing_platform()
    return spec.missing_hardware()


def _not_run() -> Future[CellResult]:
    """The future of a cell that is left out."""
    found: Future[CellResult] = Future()
    found.cancel()
    found.set_running_or_notify_cancel()
    return found
