"""Cells that took longest before start first, on whatever history there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from workplace import FAKES, Workplace

from harness.catalog.chosen_lists import chosen
from harness.contract import Cell, CellResult, Entry, Outcome, RunInfo
from harness.results.store import Store
from harness.session.options import Options
from harness.session.run import Run
from harness.session.start_order import expected_seconds, start_order

Make = Callable[..., CellResult]
MakeRun = Callable[..., RunInfo]


def cells(
    names: str, family: str = "vision", precisions: Sequence[str] = ("default",)
) -> list[Cell]:
    entries = [Entry(name, family, name) for name in names.split()]
    return [Cell(entry, "good", precision) for entry in entries for precision in precisions]


def order(given: Sequence[Cell], **seconds: float) -> list[str]:
    known = {(name, "base", "default"): taken for name, taken in seconds.items()}
    return [cell.entry.name for cell in start_order(given, known, 2)]


def test_longest_goes_first_and_the_list_keeps_the_rest() -> None:
    assert order(cells("a b c d"), c=9.0, a=1.0, b=1.0, d=2.0) == ["c", "d", "a", "b"]


def test_without_a_history_the_list_keeps_its_order() -> None:
    assert order(cells("b a c")) == ["b", "a", "c"]


def test_a_new_cell_takes_the_median_of_its_family_and_kind() -> None:
    given = cells("a b c new") + cells("x other", "audio")
    head = Cell(given[0].entry, "good", "default", "image-classification")
    known = {(n, "base", "default"): s for n, s in zip("abcx", (1.0, 2.0, 90.0, 7.0), strict=True)}
    known["a", "image-classification", "default"] = 50.0
    found = dict(
        zip((c.label for c in [*given, head]), expected_seconds([*given, head], known), strict=True)
    )
    assert (found["new"], found["other"]) == (2.0, 7.0)
    assert found["a:image-classification"] == 50.0
    stranger = Cell(Entry("s", "speech", "s"), "good")
    assert expected_seconds([*given, head, stranger], known)[-1] == 7.0  # the median of all


def test_precisions_of_a_model_stay_apart() -> None:
    given = cells("a b c d e f g h", precisions=("default", "bf16"))
    found = start_order(given, {("h", "base", "default"): 9.0, ("a", "base", "default"): 1.0}, 2)
    assert found[0].id == "h[good-default]"
    places = {cell.id: n for n, cell in enumerate(found)}
    assert places["h[good-bf16]"] - places["h[good-default]"] > 2


def stored(workplace: Workplace, make_result: Make, make_run: MakeRun, **seconds: float) -> None:
    workplace.results.mkdir(exist_ok=True)
    with Store.open(workplace.results / "good.duckdb") as store:
        store.begin(make_run("r1"))
        for name, taken in seconds.items():
            store.add("r1", make_result(name, family="vision", seconds=taken))


def test_a_run_starts_and_shows_the_longest_first(
    workplace: Workplace, make_result: Make, make_run: MakeRun
) -> None:
    workplace.write(vision="vit bert swin")
    stored(workplace, make_result, make_run, vit=1.0, bert=3.0, swin=2.0)
    done = workplace.run("good", "-n", "1", "-v")
    assert re.findall(r"(\w+)\[good-default\] PASSED", done.stdout) == ["bert", "swin", "vit"]
    assert ", at first 10 times what it took before" in done.stdout
    done = workplace.run("good", "-v", "--timeout", "60")
    assert "at first 10 times" not in done.stdout, "a limit of the user's holds as it is"


def run_of(workplace: Workplace, **changes: Any) -> Run:
    lists = chosen(str(workplace.lists))
    run = Run(Options("good", backends=FAKES, lists=lists, results=workplace.results, **changes))
    run.ask()
    return run


def test_an_order_that_the_user_chose_holds(
    workplace: Workplace, make_result: Make, make_run: MakeRun
) -> None:
    workplace.write(vision="vit bert")
    stored(workplace, make_result, make_run, vit=1.0, bert=3.0)
    for given, expected in ((True, ["vit", "bert"]), (False, ["bert", "vit"])):
        run = run_of(workplace, as_given=given)
        try:
            run.start([cell for entry in run.catalog.entries.values() for cell in run.cells(entry)])
            assert [cell.entry.name for cell in run.order] == expected
        finally:
            run.close(complete=False)


@pytest.mark.parametrize("own", [True, False])
def test_limits_on_time_follow_from_the_last_runs(
    workplace: Workplace, make_result: Make, make_run: MakeRun, own: bool
) -> None:
    workplace.write(vision="vit bert")
    stored(workplace, make_result, make_run, vit=3.0)
    run = run_of(workplace, own_limits=own)
    try:
        run.open()
        vit, bert = (run.task(Cell(run.catalog.entries[n], "good")) for n in ("vit", "bert"))
        assert vit.own_limit == (30.0 if own else None)
        assert bert.own_limit is None
    finally:
        run.close(complete=False)


def test_durations_are_those_of_the_last_runs_on_the_device(
    tmp_path: Path, make_result: Make, make_run: MakeRun
) -> None:
    with Store.open(tmp_path / "good.duckdb") as store:
        for n in range(8):
            store.begin(make_run(f"r{n}"))
            store.add(f"r{n}", make_result("bert", seconds=float(n)))
        store.begin(make_run("faulty", faults="slow=bert"))
        store.add("faulty", make_result("bert", seconds=500.0))
        store.begin(make_run("wide", size="wide"))
        store.add("wide", make_result("bert", seconds=700.0))
        store.begin(make_run("gone"))
        store.add("gone", make_result("vit", seconds=0.1, outcome=Outcome.ABSENT))
        found = store.durations("good")
        assert list(found) == [("bert", "base", "default")]
        assert (
            found["bert", "base", "default"].usual,
            found["bert", "base", "default"].longest,
        ) == (5.0, 7.0)
        assert store.durations("good", "", "wide")["bert", "base", "default"].longest == 700.0
        assert store.durations("other") == {}
