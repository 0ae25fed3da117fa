"""One run of one backend, from the options to judged and stored results; without pytest."""

from __future__ import annotations

import hashlib
import platform
import secrets
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from harness.catalog import backends, model_lists, selection
from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.catalog.selection import Catalog
from harness.cell.request import DeviceReport, Job, ProbeRequest
from harness.contract import (
    BASE,
    Cell,
    CellResult,
    Entry,
    HarnessError,
    Outcome,
    RunInfo,
    Stage,
    Unavailable,
    Verdict,
)
from harness.results import expectations_file, expectations_update
from harness.results.store import Store
from harness.session.choices import TASKS, check_faults, check_heads, check_precisions
from harness.session.options import PASSED_ON, Options, comma_separated
from harness.toolkit import checkout, signature
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.cache import Cache
from harness.workers import cell_result, device_probe, fork_server, ld_preload
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings, cores
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task, TaskStatus

ROOT = checkout.ROOT
#: What every child needs beside what its backend names.
PRELOAD = ("harness.cell.stages",)
#: A backend that names this module builds real models; it then imports their code beforehand.
BUILDER = "harness.models.preload"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run used: seconds of wall time, and of CPU in all its processes."""

    wall: float
    cpu: float


class Run:
    """The cells of one backend, run in children, judged and stored as they end.

    Attributes:
        options: what was asked for.
        spec: the backend's folder.
        catalog: the model lists.
        expectations: what the backend is known to get wrong.
        results: what has been stored so far, in the order in which cells ended.
        absence: why the backend cannot run here, once `open` has found out.
        device: what the backend says about itself, once `open` has asked.
        cache: where the backend keeps what it would otherwise make again.

    Raises:
        HarnessError: the backend, a list, the expectations or an option is wrong.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.spec: BackendSpec = backends.find(options.backend, options.backends)
        self.catalog: Catalog = _catalog(options.lists)
        self.expectations = replace(
            expectations_file.load(self.spec.expectations, self.catalog),
            promised=_names(self.catalog, self.spec.models),
        )
        self.selected = _selected(self.catalog, options.models or self.spec.models, options.shard)
        self.results: list[CellResult] = []
        self.absence: Unavailable | None = (
            self.spec.missing_platform()
            if options.backend_options.get("fallback")  # its SDK is asked, here too
            else self.spec.missing_hardware()
        )
        self.device: DeviceReport | None = None
        self.cache = Cache.of(options.backend_options)
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.settings = WorkerSettings(
            workers=options.workers,
            limits=options.limits,
            start_method=self.spec.start_method,
            shared=self.spec.worker == "shared",
            variables={**self.spec.environment, **self._interposed()},
            preload=(*self._preload(), *PRELOAD, *self._architectures()),
            root=ROOT,
        )
        self._began = time.monotonic()
        self._store: Store | None = None
        self._pool: Pool[CellResult] | None = None
        self._history: Mapping[tuple[str, str, str], Outcome] = {}
        self._snapshot: Mapping[str, signature.Signature] = {}
        self._jobs: dict[str, Job] = {}
        check_faults(self.spec, self.catalog, options)
        check_heads(self.catalog, options)

    def _interposed(self) -> dict[str, str]:
        """What has the backend's C file come before other libraries, in a folder of this run."""
        if not self.spec.interpose:
            return {}
        self._libraries = tempfile.TemporaryDirectory(prefix="harness-")
        source = self.spec.folder / self.spec.interpose
        built = ld_preload.compile_shim(source, Path(self._libraries.name))
        return {ld_preload.VARIABLE: str(built)} if built else {}

    def _preload(self) -> tuple[str, ...]:
        """What the backend wants the fork server to import, for every precision or one of these."""
        extra = (
            module
            for precision, modules in self.spec.preload_for.items()
            if {precision, "all"} & set(self.options.precisions)
            for module in modules
        )
        return (*self.spec.preload, *extra)

    def _architectures(self) -> list[str]:
        """What the fork server imports for the selected entries, where it builds them at all."""
        if BUILDER not in self.spec.preload:
            return []
        chosen = [self.catalog.entries[name] for name in self.selected]
        return sorted({f"{BUILDER}:{entry.library}/{entry.architecture}" for entry in chosen})

    @property
    def path(self) -> Path:
        """Where the results go."""
        return self.options.results / f"{self.spec.name}.duckdb"

    @property
    def error(self) -> BaseException | None:
        """What stopped the run: a full disk, say."""
        return self._pool.error if self._pool is not None else None

    @property
    def fallback(self) -> str:
        """What stands in for the missing device, once `ask` has found out; empty: nothing."""
        return self.device.device.fallback if self.device is not None else ""

    def warm(self) -> None:
        """Let the fork server import while the caller does something else."""
        if self.absence is None:
            fork_server.start_server(self.settings)

    def ask(self) -> None:
        """Ask the backend for its device, in a child; `device` or `absence` is set then.

        Raises:
            HarnessError: its packages are missing, its code fails, or it lacks a precision.
        """
        if self.device is None and self.absence is None:
            try:
                # Importing an SDK is no cell: `--timeout 5` must not keep it from answering.
                settings = replace(self.settings, limits=Limits())
                self.device = device_probe.probe(self._question(), settings)
            except Unavailable as absence:
                self.absence = absence
        if self.device is not None:
            check_precisions(self.spec, self.options, self.device)

    def precisions(self) -> tuple[str, ...]:
        """The precisions to run, by name."""
        if self.options.precisions != ("all",):
            return self.options.precisions
        self.ask()
        if self.device is None:
            return ("default",)
        return tuple(precision.name for precision in self.device.precisions)

    def patience(self) -> dict[str, float]:
        """How many times the limit on time a cell of each precision may take."""
        offered = self.device.precisions if self.device is not None else ()
        return {precision.name: precision.patience for precision in offered}

    def cells(self, entry: Entry) -> list[Cell]:
        """The cells of one entry: the headless model, then its heads."""
        return [
            Cell(entry, self.spec.name, precision, head)
            for head in (BASE, *entry.heads)
            if self._wants(head)
            for precision in self.precisions()
        ]

    def _wants(self, head: str) -> bool:
        words = frozenset(comma_separated(self.options.heads or self.spec.heads))
        return bool(words & {selection.ALL, head, BASE if head == BASE else TASKS})

    def open(self) -> None:
        """Open the results.

        Raises:
            HarnessError: they cannot be written.
        """
        if self.device is None:
            raise RuntimeError("`ask` comes first, and finds a device")
        self._store = Store.open(self.path)
        self._history = self._store.last_outcomes(self.spec.name, self.fallback)
        self._store.begin(self._info(self.device))
        self._snapshot = signature.load(signature.SNAPSHOT) if self.spec.snapshot else {}

    def start(self, cells: Sequence[Cell]) -> list[Future[CellResult]]:
        """Open the results and begin; one future a cell, in the same order.

        Raises:
            HarnessError: the results file cannot be written.
        """
        self.open()
        patience = self.patience()
        tasks = [
            Task(cell_result.RUN_CELL, self._job(cell), cell.id, patience[cell.precision])
            for cell in cells
        ]
        self._pool = self._new_pool()
        return self._pool.start(tasks)

    def _new_pool(self) -> Pool[CellResult]:
        if not self.settings.shared:
            return Pool(self._finish_cell, self.settings)
        device = self.device.device if self.device is not None else None
        chosen = "device" in self.options.backend_options
        units = () if device is None or device.fallback or chosen else device.units
        probe = Task(device_probe.PROBE, self._question(), f"probe of {self.spec.name}")
        return SharedPool(self._finish_cell, replace(self.settings, units=units), probe)

    def _question(self) -> ProbeRequest:
        return ProbeRequest(self.spec.name, self.spec.folder.parent, self.options.backend_options)

    def here(self, cell: Cell) -> CellResult:
        """Run a cell in this process, without limits: a breakpoint in it works."""
        from harness.cell import stages as cells  # its imports are for children otherwise

        def report(stage: Stage) -> None:
            print(f"{cell.id}: {stage}", flush=True)

        began = time.monotonic()
        result = cells.run(self._job(cell), report)
        ending = Ending(None, result.stage, time.monotonic() - began, value=result)
        return self._finish_cell(Task(cell_result.RUN_CELL, self._jobs[cell.id], cell.id), ending)

    def running(self) -> list[TaskStatus]:
        """What is running now."""
        return self._pool.running() if self._pool is not None else []

    def close(self, *, complete: bool) -> None:
        """Stop what runs and close the results.

        Args:
            complete: whether the run came to its end; an interrupted one has no end time.
        """
        if self._pool is not None:
            self._pool.close()
        if self._store is not None:
            try:
                if complete and self.error is None:
                    self._store.finish(self.run_id)
            finally:
                self._store.close()
                self._store = None

    def cost(self) -> Cost:
        """What the run has used so far, this process and everything it started included."""
        wall = time.monotonic() - self._began
        return Cost(wall, _cpu_seconds())

    def update_expectations(self) -> bool:
        """Rewrite the backend's `expectations.toml` for what ran; whether that changed it.

        Raises:
            HarnessError: it cannot be written. The old one is then as it was.
        """
        path = self.spec.expectations
        if self.fallback:
            raise HarnessError(
                f"expected results of the device for {path.name}, found those of the fallback "
                f"{self.fallback}; it is as it was. Fix: --update-expectations without --fallback"
            )
        text = expectations_update.updated(self.expectations, self.results)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        try:
            write_atomically(path, text)
        except OSError as error:
            raise HarnessError(
                f"{path} could not be written: {error}; it is as it was. "
                "Fix: make it writable, and room on its disk"
            ) from error
        return True

    def rerun(self, result: CellResult) -> str:
        """The command that runs this cell alone."""
        options = self.options
        words = ["--models", result.entry]
        if self.catalog.entries[result.entry].heads:
            words += ["--heads", result.head]
        if result.precision != "default":
            words += ["--precision", result.precision]
        if options.size != "tiny":
            words += ["--size", options.size]
        if options.checkpoints is not None:
            words.append(f"--checkpoints={options.checkpoints}")
        if options.seed:
            words += ["--seed", str(options.seed)]
        fault = options.backend_options.get("fault", "")
        words += [word for part in fault.split(",") if part for word in ("--fault", part)]
        words += [
            word
            for name in PASSED_ON
            if name in options.backend_options
            for word in (f"--{name.replace('_', '-')}", options.backend_options[name])
        ]
        if options.backend_options.get("cache") == "off":
            words.append("--no-cache")
        if options.backends == BACKENDS:
            return f"nox -s {self.spec.name} -- {' '.join(words)}"
        # With `=`: pytest would take a folder outside of the checkout for a path to collect.
        words += [f"--backends-dir={options.backends}", f"--lists={options.lists}"]
        return f"python -m pytest --backend {self.spec.name} {' '.join(words)}"

    def _job(self, cell: Cell) -> Job:
        recorded = self._snapshot.get(cell.label, "")
        promised = self.expectations.promised
        held = (
            self.spec.snapshot
            and self.options.size == "tiny"
            and self.options.checkpoints is None  # whose sizes are the recorded ones
            and (promised is None or cell.entry.name in promised)
        )
        job = Job(
            cell=cell,
            seed=self.options.seed,
            size=self.options.size,
            checkpoints=self.options.checkpoints,
            backends_dir=self.spec.folder.parent,
            options={
                name: value
                for name, value in self.options.backend_options.items()
                # A device that is there, and fails later, is not to be stood in for.
                if name != "fallback" or self.fallback
            },
            expected_signature=str(recorded) if held else None,
            emulated=self.device is not None and self.device.device.emulated,
        )
        self._jobs[cell.id] = job
        return job

    def _info(self, probe: DeviceReport) -> RunInfo:
        device = probe.device
        driver = f", {device.driver}" if device.driver else ""
        return RunInfo(
            run_id=self.run_id,
            backend=self.spec.name,
            started_at=datetime.now(UTC).isoformat(),
            device=f"{device.name} ({device.kind}{driver})",
            emulated=device.emulated,
            versions={"python": platform.python_version(), **device.versions},
            lock_sha256=_sha256(self.spec.lock),
            git_commit=_git_commit(),
            host=f"{platform.node()} ({platform.system()} {platform.machine()}, {cores()} cores)",
            arguments=self.options.arguments,
            seed=self.options.seed,
        )

    def _finish_cell(self, task: Task, ending: Ending) -> CellResult:
        job = self._jobs[task.label]
        result = cell_result.result_of(job, ending)
        key = (result.entry, result.head, result.precision)
        result.verdict = self.expectations.judge(result, self._history.get(key))
        if self.fallback:
            result.fallback, result.device_share = self.fallback, 0.0
            if result.verdict is Verdict.IMPROVED:  # where the device would still fail
                result.verdict = Verdict.OK
        if self._store is None:
            raise RuntimeError("a cell ended after the results were closed")
        self._store.add(self.run_id, result)
        self.results.append(result)
        return result


def _catalog(lists: Path) -> Catalog:
    if lists.name != model_lists.FOLDER:
        raise HarnessError(
            f"expected --lists to name a folder called {model_lists.FOLDER}, found {lists}. "
            "Fix: rename it"
        )
    return model_lists.load(lists.resolve().parent)


def _selected(catalog: Catalog, models: str, part: tuple[int, int]) -> frozenset[str]:
    """The names of the entries to run: chosen as by `--models`, then every N-th from the I-th."""
    shard, shards = part
    return frozenset(_names(catalog, models)[shard - 1 :: shards])


def _names(catalog: Catalog, models: str) -> list[str]:
    """The names of the entries that `models` selects, in the order of the lists; empty: all."""
    return [entry.name for entry in catalog.select(models or selection.ALL)]


def _cpu_seconds() -> float:
    """CPU seconds of this process and of all that it started, ended ones included."""
    mine = psutil.Process()
    total = 0.0
    for process in (mine, *mine.children()):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _git_commit() -> str:
    """The commit of this checkout, with `-dirty` where it has changes; empty without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
