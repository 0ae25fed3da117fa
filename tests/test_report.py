"""The report: what counts, how it is counted and written, and what it does with bad files."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import duckdb
import pytest
from stored_results import MORNING, NIGHT, NOON, cell, run_info, session

from harness.catalog import model_lists
from harness.commands import report
from harness.contract import (
    CellFailure,
    HarnessError,
    Metric,
    Outcome,
    Stage,
    Verdict,
)
from harness.report import badges, content, html, labels, markdown, words
from harness.results import merged, queries, store
from harness.results.causes import causes
from harness.results.queries import Column
from harness.toolkit import checkout

LISTS = {
    "encoder_only.toml": """
[bert]
architecture = "bert"
checkpoint = "google-bert/bert-base-uncased"
[albert]
architecture = "albert"
[esm]
architecture = "esm"
""",
    "vision.toml": """
[vit]
architecture = "vit"
[swin]
architecture = "swin"
""",
    "unavailable.toml": """
[claude3_haiku]
kind = "closed-weights"
reason = "API only; no public weights."
""",
}


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with five entries in two families, taken for the real one."""
    folder = tmp_path / "checkout" / model_lists.FOLDER
    folder.mkdir(parents=True)
    for name, text in LISTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(checkout, "ROOT", folder.parent)
    return folder


@pytest.fixture
def folder(tmp_path: Path, lists: Path) -> Path:
    return tmp_path / "results"


def options(results_folder: Path, output: Path | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    given = ["--results", str(results_folder)]
    return parser.parse_args(given if output is None else [*given, "--output", str(output)])


def matrix(made: content.Report) -> dict[str, dict[Column, queries.CellRow]]:
    return {labels.name(row): dict(row.cells) for group in made.families for row in group.rows}


DEFAULT = Column("cpu", "default")


def test_further_failures_are_causes_and_stand_beside_the_first(tmp_path: Path) -> None:
    more = CellFailure(Stage.GENERATE, Outcome.FAIL, "forgets", "CheckFailed: forgets", "T")
    wrong: dict[str, object] = {
        "stage": Stage.VERIFY,
        "reason": "wrong",
        "cause": "CheckFailed: wrong",
    }
    path = session(
        tmp_path / "cpu.duckdb", run_info("now", "cpu", "2026-11-01T00:00:00+00:00"),
        cell("bert", Outcome.FAIL, further=[more], **wrong),
        cell("gpt2", Outcome.FAIL, **wrong),
    )  # fmt: skip
    with merged.gather([path], None).connection as connection:
        found = causes(connection)
        cells = {row.entry: row for row in queries.cells(connection)}
    assert [(cause.name, cause.entries) for cause in found] == [
        ("CheckFailed: wrong", 2), ("CheckFailed: forgets", 1)
    ]  # fmt: skip
    assert found[1].places[0].stage == "generate"
    assert cells["bert"].reasons == "wrong; and fail at generate: forgets"
    assert cells["gpt2"].reasons == "wrong"


class TestWhatCounts:
    def test_a_partial_run_replaces_its_own_cells_only(self, folder: Path) -> None:
        path = folder / "cpu.duckdb"
        failed = cell("bert", Outcome.FAIL, reason="old")
        session(path, run_info("full", "cpu", MORNING), failed, cell("vit"))
        session(path, run_info("part", "cpu", NOON), cell("bert"))
        made = report.read(folder)
        assert matrix(made)["bert"][DEFAULT].outcome == Outcome.PASS
        assert matrix(made)["bert"][DEFAULT].run_id == "part"
        assert matrix(made)["vit"][DEFAULT].run_id == "full"
        assert [(run.run_id, run.supplies) for run in made.runs] == [("part", 1), ("full", 1)]
        assert not made.causes

    def test_the_order_of_writing_makes_no_difference(self, folder: Path) -> None:
        session(folder / "late.duckdb", run_info("late", "cpu", NIGHT), cell("bert"))
        early = cell("bert", Outcome.CRASH)
        session(folder / "z.duckdb", run_info("early", "cpu", MORNING), early)
        assert matrix(report.read(folder))["bert"][DEFAULT].run_id == "late"

    def test_shards_in_subfolders_make_one_column(self, folder: Path) -> None:
        session(folder / "1" / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
        session(folder / "2" / "cpu.duckdb", run_info("b", "cpu", NOON), cell("vit"))
        made = report.read(folder)
        assert made.columns == (DEFAULT,)
        assert made.totals[0].outcomes == {"pass": 2}

    def test_the_same_run_in_two_files_counts_once(self, folder: Path) -> None:
        measured = cell("bert", metrics=[Metric("load", 0.5, "s")])
        for place in ("1", "2"):
            session(folder / place / "cpu.duckdb", run_info("a", "cpu", NOON), measured)
        made = report.read(folder)
        assert made.totals[0].judged == 1
        assert len(matrix(made)["bert"]) == 1

    def test_an_interrupted_run_counts_and_is_marked(self, folder: Path) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"), finished=False)
        made = report.read(folder)
        assert made.totals[0].passed == 1
        assert made.runs[0].finished_at is None
        assert "not finished" in html.render(made)
        assert "not finished" in markdown.render(made)

    def test_delisted_entries_are_named_and_count_nowhere(self, folder: Path) -> None:
        path = folder / "cpu.duckdb"
        session(path, run_info("a", "cpu", NOON), cell("bert"), cell("gone", Outcome.FAIL))
        made = report.read(folder)
        assert [(old.entry, old.backends) for old in made.delisted] == [("gone", ("cpu",))]
        assert made.totals[0].judged == 1
        assert "gone" not in matrix(made)
        assert not made.causes

    def test_every_listed_entry_keeps_its_row(self, folder: Path) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("vit"))
        made = report.read(folder)
        assert list(matrix(made)) == ["bert", "albert", "esm", "vit", "swin"]
        assert [model.name for model in made.unavailable] == ["claude3_haiku"]

    def test_the_lists_family_wins_over_the_stored_one(self, folder: Path) -> None:
        moved = cell("vit", family="multimodal")
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), moved)
        assert matrix(report.read(folder))["vit"][DEFAULT].family == "vision"

    def test_heads_have_rows_and_precisions_have_columns(self, folder: Path) -> None:
        session(
            folder / "cpu.duckdb",
            run_info("a", "cpu", NOON),
            cell("bert", precision="bf16"),
            cell("bert"),
            cell("bert", head="fill-mask"),
        )
        made = report.read(folder)
        assert made.columns == (DEFAULT, Column("cpu", "bf16"))
        assert list(matrix(made))[:2] == ["bert", "bert:fill-mask"]
        assert 'id="/entry/bert:fill-mask"' in html.render(made)

    def test_load_and_inference_come_from_the_metrics_of_the_same_run(self, folder: Path) -> None:
        path = folder / "cpu.duckdb"
        times = [Metric("load", 0.5, "s"), Metric("inference", 0.01, "s")]
        session(path, run_info("a", "cpu", MORNING), cell("bert", metrics=[Metric("load", 9, "s")]))
        session(path, run_info("b", "cpu", NOON), cell("bert", metrics=times))
        row = matrix(report.read(folder))["bert"][DEFAULT]
        assert (row.load, row.inference) == (0.5, 0.01)


class TestDenominators:
    @pytest.fixture
    def made(self, folder: Path) -> content.Report:
        session(
            folder / "cpu.duckdb",
            run_info("a", "cpu", NOON),
            cell("bert"),
            cell("albert", Outcome.ABSENT, reason="requires timm"),
            cell("esm", Outcome.INCONCLUSIVE),
            cell("vit", Outcome.FAIL, verdict=Verdict.REGRESSED),
        )
        return report.read(folder)

    def test_only_pass_passes_and_absent_is_not_judged(self, made: content.Report) -> None:
        (total,) = made.totals
        assert (total.passed, total.judged, total.absent, total.not_run) == (1, 3, 1, 1)
        assert (total.expected, total.surprises, total.unexpected) == (1, 1, 1)
        assert (total.listed, made.listed) == (5, 5)

    def test_by_family(self, made: content.Report) -> None:
        totals = {group.name: group.totals[DEFAULT] for group in made.families}
        found = {name: (t.passed, t.judged, t.absent, t.not_run) for name, t in totals.items()}
        assert found == {"encoder-only": (1, 2, 1, 0), "vision": (0, 1, 0, 1)}

    def test_what_is_not_counted_is_named(self, made: content.Report) -> None:
        (absence,) = made.absences
        assert (absence.reason, absence.entries) == ("requires timm", ("albert",))
        for text in (html.render(made), markdown.render(made)):
            assert "requires timm" in text
            assert re.search(r"1 of 5( entries not run)?", text)

    def test_percentages_name_their_denominator(self, made: content.Report) -> None:
        page, text = html.render(made), markdown.render(made)
        assert "<b>33.3\u00a0%</b>" in page
        assert "Passed of judged" in page
        assert "| 33.3\u00a0% | 1\u00a0/\u00a03 |" in text
        assert "1/3 pass" in badges.badges(made.totals, made.runs)["cpu"]

    def test_an_unexpected_absence_is_unexpected_but_no_failure(self, folder: Path) -> None:
        gone = cell("bert", Outcome.ABSENT, verdict=Verdict.NEW)
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), gone, cell("vit"))
        (total,) = report.read(folder).totals
        assert (total.unexpected, total.surprises, total.judged) == (1, 0, 1)

    def test_nothing_judged_is_no_percentage(self, folder: Path) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert", Outcome.ABSENT))
        made = report.read(folder)
        assert "none judged" in html.render(made)
        assert "none judged" in badges.badges(made.totals, made.runs)["cpu"]


class TestCauses:
    def test_ranked_by_distinct_entries_over_all_backends(self, folder: Path) -> None:
        common, rare = "no rule for aten::unfold", "out of luck"
        session(
            folder / "a.duckdb",
            run_info("a", "a", NOON),
            cell("bert", Outcome.FAIL, cause=rare, precision="f32"),
            cell("bert", Outcome.FAIL, cause=rare, precision="f16"),
            cell("bert", Outcome.FAIL, cause=rare),
            cell("vit", Outcome.FAIL, cause=common, reason="vit: no rule", error="E\nvit"),
        )
        failed = cell("swin", Outcome.CRASH, cause=common, verdict=Verdict.NEW)
        session(folder / "b.duckdb", run_info("b", "b", NOON), failed)
        first, second = report.read(folder).causes
        assert (first.name, first.entries) == (common, 2)
        assert [(p.backend, p.outcome, p.entries, p.unexpected) for p in first.places] == [
            ("a", "fail", ("vit",), 0),
            ("b", "crash", ("swin",), 1),
        ]
        assert (first.places[0].example, first.places[0].error) == ("vit", "E\nvit")
        assert (second.name, second.entries) == (rare, 1)

    def test_a_failure_without_a_fingerprint_is_a_cause_too(self, folder: Path) -> None:
        session(
            folder / "a.duckdb",
            run_info("a", "a", NOON),
            cell("bert", Outcome.TIMEOUT, stage=Stage.RUN),
            cell("vit", Outcome.FAIL, reason="the reason"),
        )
        assert {cause.name for cause in report.read(folder).causes} == {
            "timeout at run",
            "the reason",
        }

    def test_absent_and_passing_cells_are_no_cause(self, folder: Path) -> None:
        session(
            folder / "a.duckdb",
            run_info("a", "a", NOON),
            cell("bert", Outcome.ABSENT, cause="requires"),
            cell("vit", cause="leftover", verdict=Verdict.IMPROVED),
        )
        made = report.read(folder)
        assert made.causes == ()
        assert [row.entry for row in made.unexpected] == ["vit"]

    def test_only_the_end_of_a_traceback_is_shown(self, folder: Path) -> None:
        error = "\n".join(f"frame {at}" for at in range(200)) + "\nValueError: the end"
        failed = cell("bert", Outcome.FAIL, cause="c", error=error)
        session(folder / "a.duckdb", run_info("a", "a", NOON), failed)
        made = report.read(folder)
        for text in (html.render(made), markdown.render(made)):
            assert "ValueError: the end" in text
            assert "frame 199" in text
            assert "frame 100\n" not in text


class TestRuns:
    def test_results_of_other_versions_are_marked(self, folder: Path) -> None:
        path = folder / "cpu.duckdb"
        session(path, run_info("full", "cpu", MORNING), *map(cell, ("bert", "vit", "esm")))
        newer = {"torch": "2.13.0", "transformers": "5.24.0"}
        session(path, run_info("part", "cpu", NOON, versions=newer), cell("bert"))
        made = report.read(folder)
        (mixture,) = made.mixtures
        assert (mixture.run, mixture.main, mixture.supplies) == (1, 2, 1)
        assert mixture.differences == ("transformers 5.24.0, not 5.23.0",)
        for text in (html.render(made), markdown.render(made)):
            assert "transformers 5.24.0, not 5.23.0" in text
            assert text.count("✓†") == 1

    def test_runs_in_the_same_environment_are_not_marked(self, folder: Path) -> None:
        path = folder / "cpu.duckdb"
        session(path, run_info("full", "cpu", MORNING), *map(cell, ("bert", "vit", "esm")))
        session(path, run_info("part", "cpu", NOON, git_commit="ef"), cell("bert"))
        assert report.read(folder).mixtures == ()

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"device": "another CPU"}, "device another CPU, not a CPU"),
            ({"seed": 7}, "seed 7, not 0"),
            ({"lock_sha256": "12" * 32}, "lock 12121212, not abababab"),
            ({"versions": {"torch": "2.13.0"}}, "transformers absent, not 5.23.0"),
        ],
    )
    def test_what_makes_a_run_another_one(
        self, folder: Path, changes: dict[str, object], told: str
    ) -> None:
        path = folder / "cpu.duckdb"
        session(path, run_info("full", "cpu", MORNING), *map(cell, ("bert", "vit", "esm")))
        session(path, run_info("part", "cpu", NOON, **changes), cell("bert"))
        assert report.read(folder).mixtures[0].differences == (told,)

    def test_emulated_devices_are_marked_everywhere(self, folder: Path) -> None:
        run = run_info("a", "npu", NOON, emulated=True, device="HTP emulator")
        session(folder / "npu.duckdb", run, cell("bert"))
        made = report.read(folder)
        page = html.render(made)
        assert page.count(">emulated</span>") == 5  # first screen, backends, families, matrix, runs
        assert markdown.render(made).count("HTP emulator (emulated)") == 2
        assert "npu (emulated)" in badges.badges(made.totals, made.runs)["npu"]


class Page(HTMLParser):
    """Ids, targets and tags of a page, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.targets.add(value or "")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["script"] and self.tags[-1:] != ["style"]:
            self.words.append(data)


HOSTILE = "</td><script>alert(1)</script><img src=x onerror='f()'> a|b `c` *d* &amp; \"q\"\nline 2"


class TestHtml:
    @pytest.fixture
    def made(self, folder: Path) -> content.Report:
        session(
            folder / "cpu.duckdb",
            run_info("a", "cpu", NOON, device=HOSTILE, arguments=["-k", HOSTILE]),
            cell("bert", verdict=Verdict.OK, score=1.02, device_share=1.0),
            cell(
                "vit",
                Outcome.FAIL,
                verdict=Verdict.REGRESSED,
                reason=HOSTILE,
                cause=HOSTILE,
                error=HOSTILE,
            ),
            cell("swin", Outcome.CRASH, stage=Stage.RUN),
            cell("esm", Outcome.ABSENT, reason=HOSTILE),
        )
        return report.read(folder)

    def test_escapes_whatever_an_error_says(self, made: content.Report) -> None:
        page = Page(html.render(made))
        assert page.tags.count("script") == 1 + len(html.page_scripts())  # the data, and ours
        assert "img" not in page.tags
        assert "onerror" not in page.attributes
        assert any("<script>alert(1)</script>" in text for text in page.words)

    def test_needs_nothing_from_outside(self, made: content.Report) -> None:
        page = Page(html.render(made))
        assert page.attributes.isdisjoint({"src", "srcset", "action"})
        assert "link" not in page.tags
        assert all(target.startswith("#") for target in page.targets)

    def test_every_link_has_its_target_once(self, made: content.Report) -> None:
        page = Page(html.render(made))
        assert len(page.ids) == len(set(page.ids))
        by_script = re.compile(r"/(pictures|compare)?([?].*)?")
        wanted = {target[1:] for target in page.targets}
        assert {name for name in wanted if not by_script.fullmatch(name)} <= set(page.ids)

    def test_says_in_text_what_colours_say(self, made: content.Report) -> None:
        page = html.render(made)
        assert "<td class=p>✓" in page
        assert ">✗ prepare <b>▼</b>" in page
        assert ">crash run" in page
        assert ">absent" in page
        assert "<td class=o>·" in page  # albert was not run

    def test_can_be_read_without_scripts(self, made: content.Report) -> None:
        page = html.render(made)
        assert "<form id=filters role=search hidden>" in page  # the script shows it
        matrix = page[page.index("<noscript>") : page.index("</noscript>")]
        assert 'id="/entry/vit"' in matrix
        assert "API only; no public weights." in page

    def test_folds_long_lists_but_drops_nothing(self, folder: Path) -> None:
        names = [f"e{at:03d}" for at in range(60)]
        listed = checkout.ROOT / model_lists.FOLDER / "speech.toml"
        listed.write_text("".join(f'[{name}]\narchitecture = "x"\n' for name in names))
        failed = [
            cell(name, Outcome.FAIL, cause=f"cause {name}", verdict=Verdict.NEW) for name in names
        ]
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), *failed)
        made = report.read(folder)
        page = html.render(made)
        assert all(f"<code>cause {name}</code>" in page for name in names)
        assert "48 further causes" in page
        assert "And 20 more" in page
        assert "And 35 further causes" in markdown.render(made)


class TestMarkdown:
    @pytest.fixture
    def text(self, folder: Path) -> str:
        failed = cell("vit", Outcome.FAIL, reason=HOSTILE, cause=HOSTILE, error=f"```\n{HOSTILE}")
        failed.verdict = Verdict.NEW
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"), failed)
        return markdown.render(report.read(folder))

    def test_tables_hold_together(self, text: str) -> None:
        plain = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        tables = re.findall(r"(?:^\|.*\n)+", plain, flags=re.MULTILINE)
        assert len(tables) >= 6
        for table in tables:
            rows = [re.sub(r"\\.", "", line).count("|") for line in table.splitlines()]
            assert len(set(rows)) == 1, table

    def test_escapes_whatever_an_error_says(self, text: str) -> None:
        plain = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        plain = re.sub(r"(?<!\\)(`+)(?!`).*?(?<![\\`])\1(?!`)", "", plain)
        assert "<script" not in plain
        assert "&lt;script&gt;" in plain

    def test_a_fence_in_an_error_cannot_close_ours(self, text: str) -> None:
        assert "\n````text\n```\n" in text

    def test_families_are_folded(self, text: str) -> None:
        assert "<details><summary><b>encoder-only</b>: cpu 1/1</summary>" in text
        assert "| bert | ✓ |" in text
        assert r"| claude3\_haiku | closed weights | API only; no public weights. |" in text


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("plain_*", "`plain_*`"),
        ("a`b_", r"<code>a\`b\_</code>"),
        ("a|b\nc", r"<code>a\|b c</code>"),
        ("a\\|b", r"<code>a\\\|b</code>"),
        ("<b>|", r"<code>&lt;b&gt;\|</code>"),
        ("", "<code></code>"),
    ],
)
def test_markdown_code(value: str, code: str) -> None:
    assert markdown.code(value) == code


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("[a](https://b.c) www.d.e", r"\[a\](https:\//b.c) www\.d.e"),
        ("a | <img> `x` *y*", r"a \| &lt;img&gt; \`x\` \*y\*"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("1.5\u00a0% s", "1.5\u00a0% s"),
        ("\x1b[0m\n::error::no", r"\\x1b\[0m ::error::no"),
    ],
)
def test_markdown_text(value: str, text: str) -> None:
    assert markdown.escape(value) == text


class TestSize:
    """690 entries, eight backends in one or two precisions each, one cell in five failing."""

    @pytest.fixture
    def made(self, tmp_path: Path, lists: Path) -> content.Report:
        (lists / "vision.toml").write_text(
            "".join(f'[some_entry_{at}]\narchitecture = "some_type"\n' for at in range(690))
        )
        path = tmp_path / "results" / "all.duckdb"
        for at in range(8):
            session(path, run_info(f"r{at}", f"backend-{at}", NOON))
        with duckdb.connect(str(path)) as connection:
            connection.execute(
                """
                INSERT INTO cells
                SELECT 'r' || b, 'some_entry_' || i, 'vision', 'some_type', 'base', p, 'prepare',
                    CASE WHEN bad THEN 'fail' ELSE 'pass' END,
                    CASE WHEN bad THEN 'xfail' ELSE 'ok' END,
                    CASE WHEN bad THEN repeat('a reason ', 10) ELSE '' END,
                    CASE WHEN bad THEN 'cause ' || (i % 97) ELSE '' END,
                    200000, 1.5, 400, 1.0,
                    CASE WHEN bad THEN repeat(repeat('x', 80) || chr(10), 60) ELSE '' END,
                    1e-7, 1.02, ''
                FROM (SELECT i, b, p, i % 5 = 0 AS bad FROM range(690) t(i), range(8) u(b),
                    (VALUES ('default'), ('f32')) v(p) WHERE p = 'default' OR b % 2 = 0)
                """
            )
        return report.read(tmp_path / "results")

    def test_stays_small(self, made: content.Report, monkeypatch: pytest.MonkeyPatch) -> None:
        assert sum(total.judged for total in made.totals) == 690 * 12
        assert len(html.render(made).encode()) < 2_500_000
        text = markdown.render(made)
        assert len(text.encode()) < 400_000
        assert "some\\_entry\\_1 " in text
        # GitHub drops a summary beyond its limit: the matrix goes first.
        monkeypatch.setattr(markdown, "LIMIT_BYTES", 60_000)
        text = markdown.render(made)
        assert "some\\_entry\\_1 " not in text
        assert "see report.html" in text


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"hello " * 4000)


def flip(path: Path) -> None:
    """Damage that only shows when the data is read."""
    data = bytearray(path.read_bytes())
    for at in range(12_288, len(data), 997):
        data[at] ^= 0xFF
    path.write_bytes(data)


def older(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE schema_version")


def newer(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE schema_version SET version = 99")


def no_column(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE cells DROP COLUMN score")


def no_table(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE metrics")


class TestBadFiles:
    @pytest.mark.parametrize(
        ("damage", "found"),
        [
            (truncate, "truncated, damaged or no DuckDB file"),
            (empty, "truncated, damaged or no DuckDB file"),
            (garbage, "truncated, damaged or no DuckDB file"),
            (flip, "truncated, damaged or no DuckDB file"),
            (older, f"expected results of schema {store.SCHEMA_VERSION}, found schema 0. An older"),
            (newer, f"expected results of schema {store.SCHEMA_VERSION}, found schema 99. A newer"),
            (no_column, "no column 'score' in table 'cells'"),
            (no_table, "no table 'metrics'"),
        ],
    )
    def test_is_left_out_and_the_others_are_reported(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        damage: Callable[[Path], None],
        found: str,
    ) -> None:
        bad = session(folder / "bad.duckdb", run_info("b", "bad", NOON), cell("bert"))
        damage(bad)
        before = bad.read_bytes()
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("vit"))
        assert report.main(options(folder)) == 1
        err = capsys.readouterr().err.splitlines()
        assert len(err) == 1
        assert err[0].startswith(f"left out: {bad}: ")
        assert found in err[0]
        assert "Fix: " in err[0]
        assert str(bad) in (folder / "report.html").read_text("utf-8")
        assert "Left out:" in (folder / "report.md").read_text("utf-8")
        assert (folder / "badges" / "cpu.svg").is_file()
        assert bad.read_bytes() == before

    def test_the_fix_names_the_session_of_a_shard(self, folder: Path) -> None:
        folder.mkdir()
        empty(folder / "torch-cpu.1-of-4.duckdb")
        (left,) = merged.gather(merged.find(folder), None).left_out
        assert left.fix == f"python -m harness set-aside {left.path} && nox -s torch-cpu"

    def test_a_session_that_still_writes(self, folder: Path) -> None:
        busy = session(folder / "busy.duckdb", run_info("b", "busy", NOON), cell("bert"))
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("vit"))
        hold = (
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); "
            "sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(busy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            made = report.read(folder)
            holder.communicate(b"")
        (left,) = made.left_out
        assert "its session is still writing" in left.found
        assert "nox -s report" in left.fix
        assert report.read(folder).left_out == ()

    def test_a_killed_sessions_log_is_read(self, folder: Path) -> None:
        path = session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("vit"))
        die = (
            "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
            "c.execute(\"UPDATE cells SET reason = 'from the log'\"); os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", die, str(path)], check=False)
        assert matrix(report.read(folder))["vit"][DEFAULT].reason == "from the log"

    def test_a_quote_in_a_path_is_no_sql(self, tmp_path: Path, lists: Path) -> None:
        path = tmp_path / "it's; here" / "cpu.duckdb"
        session(path, run_info("a", "cpu", NOON), cell("vit"))
        assert report.read(path.parent).totals[0].passed == 1

    def test_none_that_can_be_read(self, folder: Path) -> None:
        folder.mkdir()
        empty(folder / "a.duckdb")
        garbage(folder / "b.duckdb")
        (folder / "report.html").write_text("the last one")
        with pytest.raises(HarnessError, match=r"a\.duckdb: truncated(.|\n)*b\.duckdb: truncated"):
            report.main(options(folder))
        assert (folder / "report.html").read_text() == "the last one"


class TestMain:
    def test_writes_everything(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
        output = folder.parent / "elsewhere" / "deep"
        assert report.main(options(folder, output)) == 0
        out, err = capsys.readouterr()
        assert "1 of 1 judged cells pass (100\u00a0%)" in out
        assert str(output / "report.html") in out
        assert err == ""
        written = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*"))
        assert written == [
            "badges/cpu.json",
            "badges/cpu.svg",
            "comment.md",
            "report.html",
            "report.md",
        ]

    @pytest.mark.parametrize("there", [True, False])
    def test_no_results_at_all(self, folder: Path, there: bool) -> None:
        if there:
            folder.mkdir()
        with pytest.raises(HarnessError, match=r"expected the results.*found none.*nox -s"):
            report.main(options(folder))
        assert not (folder / "report.html").exists()

    def test_a_run_without_a_cell(self, folder: Path) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), finished=False)
        with pytest.raises(HarnessError, match=r"expected results of listed entries.*found none"):
            report.main(options(folder))

    def test_broken_lists_are_said_and_cost_only_what_they_tell(
        self, folder: Path, lists: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"), cell("other"))
        (lists / "vision.toml").write_text("[vit\n")
        assert report.main(options(folder)) == 1
        assert "the model lists could not be read" in capsys.readouterr().err
        assert "vision.toml" in (folder / "report.html").read_text("utf-8")
        made = report.read(folder)
        assert sorted(matrix(made)) == ["bert", "other"]
        assert made.delisted == ()

    def test_an_output_that_cannot_be_written(self, folder: Path, tmp_path: Path) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(HarnessError, match=r"cannot be written.*--output DIR"):
            report.main(options(folder, tmp_path / "file"))

    def test_an_interrupted_write_leaves_the_last_report(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
        report.main(options(folder))
        before = (folder / "report.html").read_text("utf-8")

        def full(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(HarnessError, match="No space left on device"):
            report.main(options(folder))
        assert (folder / "report.html").read_text("utf-8") == before
        assert not list(folder.glob(".report*"))


def test_finds_results_below_the_folder_too(tmp_path: Path) -> None:
    for name in ("b.duckdb", "shard-1/a.duckdb", "a.duckdb.old", "report.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in merged.find(tmp_path)] == ["b.duckdb", "a.duckdb"]


def test_extremes_are_limited_and_ordered(folder: Path) -> None:
    session(
        folder / "cpu.duckdb",
        run_info("a", "cpu", NOON),
        cell("bert", seconds=3.0, peak_rss_mb=None),
        cell("vit", seconds=9.0, peak_rss_mb=100.0),
        cell("swin", seconds=1.0, peak_rss_mb=900.0),
    )
    with merged.gather(merged.find(folder), None).connection as connection:
        assert [row.entry for row in queries.slowest(connection, 2)] == ["vit", "bert"]
        assert [row.entry for row in queries.largest(connection, 9)] == ["swin", "vit"]


def test_badges_are_svg(folder: Path) -> None:
    session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert", precision="f16"))
    (total,) = report.read(folder).totals
    svg = badges.badge(replace(total, backend="a<b>&c"), emulated=False)
    root = ET.fromstring(svg)
    assert root.get("aria-label") == "a<b>&c f16: 1/1 pass (100\u00a0% of the judged cells)"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, words.NOTHING), (689, 690, "99.8 %"), (690, 690, "100 %"), (0, 9, "0.0 %")],
)
def test_shares_are_rounded_down(part: int, whole: int, text: str) -> None:
    assert words.share(part, whole).replace("\u00a0", " ") == text


def test_other_units() -> None:
    assert [words.megabytes(value) for value in (None, 440.4, 999.6)] == ["–", "440 MB", "1.00 GB"]
    assert [words.parameters(value) for value in (None, 12, 209_000, 1_400_000)] == [
        *("–", "12", "209 k", "1.4 M"),
    ]
    assert [words.score(value) for value in (None, 0.98, 12.3, 1e6)] == ["–", "0.98", "12", "1e+06"]
    assert [words.seconds(value) for value in (None, 0.0124)] == ["–", "12 ms"]
    assert words.part(0.9999).replace("\u00a0", " ") == "99.9 %"


def test_the_tail_of_an_error_is_cut_at_a_line() -> None:
    assert words.tail("a\nb\nc\n", 2, 100) == "b\nc"
    assert words.tail("aaaa\nbbbb\ncc", 9, 6) == "…cc"
    assert words.tail("x" * 20, 9, 5) == "…xxxxx"


def test_measured_cells_have_a_table(folder: Path) -> None:
    numbers = {"median": 0.05, "p95": 0.06, "tokens": 640.0, "ratio": 0.5, "ratio_low": 0.48,
               "ratio_high": 0.52, "predicted": 0.2, "predicted_low": 0.19,
               "predicted_high": 0.22}  # fmt: skip
    metrics = [Metric(f"measured_{name}", value, "1") for name, value in numbers.items()]
    session(
        folder / "cpu.duckdb",
        run_info("a", "cpu", NOON),
        cell("bert", metrics=metrics),
        cell("vit"),
    )
    assert report.main(options(folder)) == 0
    table = (
        "bert on cpu",
        "50 ms",
        "640 tokens/s",
        "0.50 (0.48 to 0.52)",
        "200 ms (190 ms to 220 ms)",
    )
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert all(value in text for value in table), name
        assert "whole model, predicted" in text
        assert "vit on cpu" not in text
