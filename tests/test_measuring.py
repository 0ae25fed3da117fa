"""The stage `measure`: numbers of a cell's program, their raw times in the results, and notes."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from stored_results import NOON, cell, run_info, session
from test_options import config
from test_timing import Machine, steady
from workplace import Workplace

from harness.catalog.backend_spec import BackendSpec
from harness.cell import measuring, stages
from harness.cell.measuring import Measured, Memory, measure
from harness.cell.progress import CellProgress
from harness.cell.request import Job
from harness.contract import (
    BASE,
    BrokenContract,
    Cell,
    CellResult,
    Device,
    Entry,
    Generated,
    Generation,
    GenerationRequest,
    HarnessError,
    MeterReading,
    Precision,
    Stage,
    Timings,
)
from harness.inputs.workload import workload
from harness.report import measured as shown
from harness.results import merged, queries
from harness.session.options import options_of
from harness.toolkit.process_memory import GrowthWatch

FLOAT32 = Precision("default", "float32")


class Backend:
    """A fake GPU whose meter counts 0.5 J and whose generator takes 0.1 s, and 0.05 s a token."""

    def __init__(self, machine: Machine, kind: str = "gpu") -> None:
        self.machine = machine
        self.kind = kind
        self.reading: Any = None
        self.joules = itertools.count(0.0, 0.5)

    def probe(self) -> Device:
        return Device("Fake 1", self.kind)

    def meter(self) -> MeterReading | None:
        return self.reading or MeterReading(next(self.joules), 1400.0, 2)

    def generator(self, case: Any, precision: Precision) -> Any:
        def generate(request: GenerationRequest) -> Generated:
            self.machine.wall += 0.1 + 0.05 * request.tokens
            self.machine.cpu += 0.001
            ids = request.inputs["input_ids"]
            more = np.zeros((len(ids), request.tokens), dtype=ids.dtype)
            return Generated(np.concatenate([ids, more], axis=1))

        return generate


def measured(
    machine: Machine, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], CellResult]:
    """The numbers of a program that takes 0.05 s, and its baseline 0.1 s."""
    slow = machine.program("base", steady(0.1))
    monkeypatch.setattr(measuring, "_baseline", lambda found: slow)
    monkeypatch.setattr(measuring, "yardstick", lambda: machine.program("yard", steady(0.001)))
    ids = np.zeros((2, 16), dtype=np.int64)
    case: Any = SimpleNamespace(generation=Generation("input_ids"), config=lambda: None)
    program: Any = machine.program("p", steady(0.05))
    checked: Any = SimpleNamespace(first_seconds=0.7)
    memory = Memory(GrowthWatch(), 12.0, 5.0)
    inputs = {"input_ids": ids}
    found = Measured(
        backend, case, FLOAT32, lambda given: program(), inputs, checked, memory  # type: ignore[arg-type]
    )  # fmt: skip
    result = cell("bert", stage=Stage.BUILD)
    progress = CellProgress(result, lambda *_: None)
    progress.metric("wall_build", 3.0, "s")
    progress.metric("load", 2.0, "s")
    measure(found, progress, machine.clocks)
    return shown.numbers(result), result


def test_all_numbers_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    found, result = measured(machine, Backend(machine), monkeypatch)
    assert found["median"] == pytest.approx(0.05)
    assert found["p95"] == pytest.approx(0.05)
    assert found["ratio"] == pytest.approx(0.5)
    assert found["ratio_low"] == pytest.approx(0.5)
    assert (found["load"], found["prepare"], found["first"]) == (3.0, 2.0, 0.7)
    assert (found["peak_memory"], found["held_memory"]) == (12.0, 5.0)
    assert found["tokens"] == pytest.approx(32 / 0.05)
    assert found["decode"] == pytest.approx(2 / 0.05)
    assert found["first_token"] == pytest.approx(0.15)
    assert found["energy"] == pytest.approx(0.5 / found["inferences"])
    assert (found["clock"], found["others"]) == (1400.0, 2.0)
    assert [one.name for one in result.timings] == ["program", "baseline", "tokens", "one-token"]
    assert "relative_cpu" not in found  # a yardstick of the host says nothing of a GPU


def test_the_host_is_held_against_a_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    found, _ = measured(machine, Backend(machine, "cpu"), monkeypatch)
    assert found["relative_cpu"] == pytest.approx(50.0)
    assert found["relative_cpu_noise"] == pytest.approx(0.0)
    assert found["taken"] == pytest.approx(0.0)


def test_a_meter_that_breaks_the_contract_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    for reading in ({"joules": 1.0}, MeterReading(joules=-1.0), MeterReading(clock_mhz=np.inf)):
        backend = Backend(machine)
        backend.reading = reading
        with pytest.raises(BrokenContract, match="contract: meter: expected"):
            measured(machine, backend, monkeypatch)


def test_notes_say_what_makes_a_measurement_doubtful() -> None:
    assert shown.doubts({"steady": 1.0, "drift": 1.1, "taken": 0.02, "wall_noise": 0.01}) == []
    bad = {"steady": 0.0, "drift": 2.0, "taken": 0.5, "load_average": 7.0, "others": 3.0}
    said = shown.doubts({**bad, "wall_noise": 0.3})
    assert [word in text for word, text in zip(
        ("not steady", "2.00 times as long", "50% of a core", "3 other processes", "30%"), said,
        strict=True)] == [True] * 5  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "items"),
    [
        ({"input_ids": (2, 16), "attention_mask": (2, 16)}, {"tokens": 32.0}),
        ({"input_ids": (2, 16), "decoder_input_ids": (2, 4)}, {"tokens": 40.0}),
        ({"pixel_values": (2, 3, 32, 32)}, {"images": 2.0}),
        ({"pixel_values": (2, 5, 3, 32, 32)}, {"images": 10.0}),
        ({"pixel_values": (64, 588)}, {}),
        ({"pixel_values": (64, 3, 14, 14), "image_grid_thw": (2, 3)}, {"images": 2.0}),
        ({"input_values": (2, 8000)}, {"seconds of sound": 1.0}),
        ({"input_features": (1, 80, 3000)}, {"seconds of sound": 30.0}),
        ({"input_features": (1, 3000, 80)}, {"seconds of sound": 30.0}),
        ({"input_features": (1, 3000, 99)}, {}),
    ],
)
def test_items_follow_from_the_names_of_arguments(
    inputs: dict[str, tuple[int, ...]], items: dict[str, float]
) -> None:
    given = {name: np.zeros(shape, dtype=np.int8) for name, shape in inputs.items()}
    assert workload(given, SimpleNamespace(num_mel_bins=80)) == items


def test_raw_times_are_kept_and_a_stranger_s_are_held_to_rules(tmp_path: Path) -> None:
    good = Timings("program", 2, [0.1, 0.2], [0.1, 0.1])
    bad = [
        Timings("zero", 1, [0.0], [0.1]),
        Timings("infinite", 1, [0.1], [float("inf")]),
        Timings("uneven", 2, [0.1] * 3, [0.1] * 3),
        Timings("none", 1, [], []),
    ]
    path = session(
        tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert", timings=[good, *bad])
    )
    gathered = merged.gather([path], None)
    with gathered.connection as connection:
        rows = connection.execute("SELECT name, turns, seconds FROM timings").fetchall()
    assert rows == [("program", 2, [0.1, 0.2])]
    (left, other) = sorted(map(str, gathered.left_out))
    assert "1 of 5 rows of timings left out: expected cpu_seconds to be finite seconds" in left
    assert "3 of 5 rows of timings left out: expected seconds to be finite seconds" in other


def test_cells_run_one_at_a_time() -> None:
    assert options_of(config(["--measure"]), "good").workers == 1
    assert options_of(config(["--measure", "-n1"]), "good").measure
    assert options_of(config(["--measure"]), "good").limits.seconds == 600.0
    with pytest.raises(HarnessError, match="one cell at a time beside --measure, found -n 2"):
        options_of(config(["--measure", "-n2"]), "good")


def test_a_session_measures_and_shows_it(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    workplace.write(vision="vit")
    done = workplace.run("good", "--measure")
    assert done.returncode == 0, done.stdout
    assert "cells: 1, 1 at once" in done.stdout
    assert "measure: one cell at a time, after its checks" in done.stdout
    assert "measured, one cell at a time" in done.stdout
    path = workplace.results / "good.duckdb"
    with merged.gather([path], None).connection as connection:
        (row,) = queries.cells(connection)
    assert row.measured["inferences"] >= 10
    assert {"median", "p95", "first", "prepare", "wall_noise", "relative_cpu"} <= set(row.measured)
    with duckdb.connect(str(path), read_only=True) as connection:
        names = connection.execute("SELECT name FROM timings ORDER BY name").fetchall()
    assert ("program",) in names
    assert ("yardstick",) in names


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the peak")
def test_growth_counts_memory_that_was_freed_before() -> None:
    first = GrowthWatch()
    blocks = [np.ones(1000) for _ in range(5000)]  # of the heap, which free() keeps
    grown = first.peak_mb()
    last = np.ones(1000)  # on top of them
    blocks.clear()
    again = GrowthWatch()
    blocks += [np.ones(1000) for _ in range(5000)]
    assert grown == pytest.approx(40, rel=0.2)
    assert again.peak_mb() == pytest.approx(40, rel=0.2)
    assert last[0] == 1.0


def test_a_measured_program_is_prepared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled model from the cache would be prepared in no time, and take other memory."""
    options = {"cache": "", "device": "CPU"}
    job = Job(
        Cell(Entry("bert", "encoder-only", "bert"), "good", "default", BASE),
        0,
        "full",
        Path("fakes"),
        options,
    )
    opened: list[dict[str, str]] = []

    def load(spec: object, options: dict[str, str]) -> None:
        opened.append(options)
        raise HarnessError("that was all")

    monkeypatch.setattr("harness.catalog.backends.find", lambda *_: BackendSpec(Path(), "A fake"))
    monkeypatch.setattr("harness.catalog.backends.load", load)
    for one in (job, replace(job, measured=True)):
        assert stages.run(one, lambda *_: None).reason == "that was all"
    assert opened == [options, {"cache": "off", "device": "CPU"}]


def test_a_cell_that_was_not_measured_has_no_numbers(tmp_path: Path) -> None:
    path = session(tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
    with merged.gather([path], None).connection as connection:
        assert queries.cells(connection)[0].measured == {}
    assert shown.table([shown.row("bert", {})]) == []
