"""The tables at the end of a run: right totals, named denominators, causes in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from harness.contract import CellResult, Metric, Outcome, Stage, Verdict
from harness.results.last_results import LastResult, Origin
from harness.session import news, summary
from harness.session.cost import Cost
from harness.session.hooks import drop_cut_line
from harness.session.items import FailureReport

Make = Callable[..., CellResult]


def test_shares_name_what_they_are_shares_of(make_result: Make) -> None:
    results = [make_result(f"e{n}") for n in range(3)]
    results += [make_result("v", family="vision", outcome=Outcome.CRASH)]
    results += [make_result("w", family="vision", outcome=Outcome.ABSENT)]
    results += [make_result("x", family="rag", outcome=Outcome.ABSENT)]
    assert [" ".join(line.split()) for line in summary.table(results)] == [
        "family pass crash absent passed",
        "encoder-only 3 100.0% of 3",
        "vision 1 1 0.0% of 1",
        "rag 1 -",
        "all 3 1 2 75.0% of 4",
    ]


def test_one_family_needs_no_total(make_result: Make) -> None:
    assert len(summary.table([make_result("a", outcome=Outcome.FAIL)])) == 2


def test_verdicts_are_counted_in_their_order(make_result: Make) -> None:
    results = [make_result(verdict=v) for v in (Verdict.NEW, Verdict.OK, Verdict.XFAIL, Verdict.OK)]
    assert summary.verdicts(results) == "2 ok, 1 xfail, 1 new"


def failing(make_result: Make, cause: str, *names: str, **changes: object) -> list[CellResult]:
    given = {"outcome": Outcome.FAIL, "cause": cause, "verdict": Verdict.NEW, **changes}
    return [make_result(name, **given) for name in names]


def test_causes_are_ranked_by_the_entries_they_block(make_result: Make) -> None:
    results = [
        *failing(make_result, "rare", "a"),
        *failing(make_result, "common", "b", "c", "d", "e", "f", "g"),
        *failing(make_result, "common", "b", precision="f16"),  # the same entry again
        *failing(make_result, "known", "h", "i", verdict=Verdict.XFAIL, stage=Stage.PREPARE),
        make_result("right"),
    ]
    assert summary.causes(results) == [
        "   6  fail at verify: common",
        "      b, c, d, e and 2 more",
        "   2  fail at prepare, expected: known",
        "      h, i",
        "   1  fail at verify: rare",
        "      a",
    ]


def test_many_causes_are_cut_unless_all_are_wanted(make_result: Make) -> None:
    results = [r for n in range(30) for r in failing(make_result, f"cause {n:02}", f"e{n}")]
    assert summary.causes(results)[-1] == "      and 20 causes more (`-v` shows them)"
    assert len(summary.causes(results, everything=True)) == 60


def test_the_cost_counts_the_harnesss_own_share(make_result: Make) -> None:
    metrics = [
        Metric("cpu_build", 1.0, "s"),
        Metric("cpu_reference", 1.0, "s"),
        Metric("cpu_run", 1.0, "s"),
        Metric("cpu_verify", 0.5, "s"),
        Metric("cpu", 3.5, "s"),
    ]
    results = [make_result(name, metrics=metrics, peak_rss_mb=440.0) for name in ("a", "b")]
    text = summary.cost(results, Cost(wall=10.0, cpu=8.0))
    assert text == (
        "10 s wall, 4.00 s of CPU a cell, 25% of the CPU is the harness's own, imports included, "
        "440 MB a process at the median"
    )
    assert summary.cost([make_result()], Cost(1.0, 0.5)) == "1.0 s wall, 0.50 s of CPU a cell"


def test_the_slowest_come_first(make_result: Make) -> None:
    results = [make_result(f"e{n}", seconds=float(n)) for n in range(8)]
    assert summary.slowest(results).startswith("e7 7.0 s, e6 6.0 s")


def last(*results: CellResult) -> dict[tuple[str, str, str], LastResult]:
    when = datetime(2026, 11, 28, tzinfo=UTC)
    origin = Origin("", "", {}, 0, ())
    return {(r.entry, r.head, r.precision): LastResult(r, when, None, origin) for r in results}


def test_what_changed_since_the_last_run_is_told(make_result: Make) -> None:
    before = last(
        make_result("broke"),
        *failing(make_result, "c", "mended"),
        *failing(make_result, "old", "otherwise"),
        make_result("same"),
        make_result("elsewhere"),
    )
    now = [
        *failing(make_result, "c", "broke", reason="it went boom"),
        make_result("mended"),
        *failing(make_result, "young", "otherwise", reason="another line"),
        make_result("same"),
        *failing(make_result, "c", "first time"),
    ]
    assert news.news(now, before) == [
        "since the last run: 1 broke, 1 failing otherwise, 1 mended",
        "  broke              broke: fail at verify: it went boom",
        "  failing otherwise  otherwise: fail at verify: another line",
        "  mended             mended",
    ]
    assert news.news(now[3:4], before) == ["since the last run: nothing changed"]
    assert news.news(now[4:], before) == []


def test_many_changes_are_cut_unless_all_are_wanted(make_result: Make) -> None:
    names = [f"e{at:02}" for at in range(30)]
    before = last(*(make_result(name) for name in names))
    now = failing(make_result, "c", *names)
    assert news.news(now, before)[-1] == "  and 18 more (`-v` shows them)"
    assert len(news.news(now, before, everything=True)) == 31


@pytest.mark.parametrize(("width", "kept"), [(60, False), (200, True)])
def test_the_short_summary_has_a_verdict_or_none(make_result: Make, width: int, kept: bool) -> None:
    failure = FailureReport(failing(make_result, "c", "bert")[0], "the text")
    nodeid = "model_lists/encoder_only.toml::bert[cpu-default]"
    where = nodeid, None, "bert"
    report = pytest.TestReport(nodeid, where, {}, "failed", failure, "call")  # type: ignore[arg-type]
    drop_cut_line(report, width)
    assert (failure.reprcrash is not None) is kept
