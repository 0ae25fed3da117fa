"""Whether tiny models predict others: the same cells at two sizes, from the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.commands.by_size import markdown
from harness.contract import Outcome, Stage
from harness.results import by_size, merged
from harness.results.by_size import SizeAgreement
from harness.results.store import Store

Make = Callable[..., Any]

FAILED = {"outcome": Outcome.FAIL, "stage": Stage.VERIFY, "reason": "relative error 0.3"}
LARGE = {"outcome": Outcome.TOO_LARGE, "stage": Stage.BUILD, "reason": "expected 40 GB"}


@pytest.fixture
def results(tmp_path: Path, make_run: Make, make_result: Make) -> Path:
    """Of four cells at both sizes, one differs and one is not judged."""
    path = tmp_path / "results" / "good.duckdb"
    with Store.open(path) as store:
        store.begin(make_run("t", size="tiny"))
        store.begin(make_run("w", size="wide"))
        for entry, tiny, wide in (
            ("bert", {}, {}),
            ("gpt2", FAILED, FAILED),
            ("vit", {}, FAILED),
            ("mixtral", {}, LARGE),
        ):
            store.add("t", make_result(entry, **tiny))
            store.add("w", make_result(entry, **wide))
        store.add("w", make_result("t5"))
    return path


def test_each_cell_at_both_sizes_is_compared(results: Path) -> None:
    cells = by_size.compared(merged.gather([results], None), "wide")
    assert {cell.entry: (cell.tiny, cell.other, cell.alike, cell.judged) for cell in cells} == {
        "bert": ("pass", "pass", True, True),
        "gpt2": ("fail at verify", "fail at verify", True, True),
        "vit": ("pass", "fail at verify", False, True),
        "mixtral": ("pass", "too-large at build", False, False),
    }
    assert by_size.agreements(cells) == [SizeAgreement("good", "default", 4, 3, 2)]
    assert by_size.compared(merged.gather([results], None), "full") == []


def test_the_table_names_its_denominator_and_each_cell_that_differs(results: Path) -> None:
    text = markdown(by_size.compared(merged.gather([results], None), "wide"), "wide")
    assert "| `good` | default | 4 | 3 | 66.6\u00a0% of 3 |" in text
    assert "| `vit` | good | pass | fail at verify | relative error 0.3 |" in text
    assert "| `mixtral` | good | pass | too-large at build | expected 40 GB |" in text
    assert "`bert`" not in text
    assert "`gpt2`" not in text


def test_without_both_sizes_the_command_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["by-size", "--results", str(tmp_path)]) == 2
    assert "Fix: run a session twice, once with `--size wide`" in capsys.readouterr().err


def test_the_report_shows_both_sizes(results: Path) -> None:
    assert main(["report", "--results", str(results.parent)]) == 0
    text = (results.parent / "report.md").read_text()
    assert "## Tiny and wide" in text
    assert "## Tiny and full" not in text
    assert "| `good` | default | 4 | 3 | 66.6\u00a0% of 3 |" in text
    assert "| `vit` | good | pass | fail at verify | relative error 0.3 |" in text
    page = (results.parent / "report.html").read_text()
    assert "<h2>Tiny and wide</h2>" in page
    assert "<tr><th scope=row>vit<td>good<td>pass<td>fail at verify<td>relative error 0.3" in page
