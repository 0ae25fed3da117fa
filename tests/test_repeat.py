"""`--repeat`: what fails is run again, and what both passes and fails is flaky."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from device_targets import Work
from workplace import FAKES, Workplace

from harness.contract import (
    ATTEMPTS,
    ATTEMPTS_PASSED,
    CellFailure,
    CellResult,
    Outcome,
    RunInfo,
    Stage,
    Verdict,
)
from harness.results.attempts import combined, wants_another
from harness.results.changed_cells import CellKey, Kind, State, changes
from harness.results.expectations import Expectation, Expectations, Failure, Scope
from harness.results.expectations_update import updated
from harness.results.store import Store
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task

#: A plugin that tells the fake backend which process to interrupt.
TELLING = "import os\nos.environ['HARNESS_TEST_SESSION'] = str(os.getpid())\n"

Make = Callable[..., CellResult]


def run(
    workplace: Workplace, entries: str, *options: str, backends: Path = FAKES
) -> subprocess.CompletedProcess[str]:
    """Run entries of the fake backend `wavering`, whose attempts go on counting over runs."""
    workplace.write(vision=entries)
    (workplace.folder / "telling.py").write_text(TELLING)
    attempts = workplace.folder / "attempts"
    attempts.mkdir(exist_ok=True)
    return workplace.run(
        "wavering", "-n", "2", "-p", "telling", *options, backends=backends,
        PYTHONPATH=str(workplace.folder), HARNESS_TEST_ATTEMPTS=str(attempts),
    )  # fmt: skip


def attempted(workplace: Workplace) -> dict[str, int]:
    """How often each entry was attempted."""
    files = (workplace.folder / "attempts").iterdir()
    return {file.name: len(file.read_text().splitlines()) for file in files}


def verdicts(workplace: Workplace) -> dict[str, tuple[str, str, str]]:
    """Stage, outcome and verdict of each entry in the last run."""
    return {
        name: (row["stage"], row["outcome"], row["verdict"])
        for name, row in workplace.cells("wavering").items()
    }


def counted(workplace: Workplace) -> dict[str, tuple[int, int]]:
    """Attempts and passes of each entry that was run again, as stored."""
    path = workplace.results / "wavering.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT entry, any_value(value) FILTER (name = ?), any_value(value) FILTER (name = ?) "
            "FROM metrics GROUP BY entry HAVING count(*) FILTER (name = ?) > 0",
            [ATTEMPTS, ATTEMPTS_PASSED, ATTEMPTS],
        ).fetchall()
    return {entry: (int(attempts), int(passes)) for entry, attempts, passes in rows}


def test_what_fails_is_run_again_until_it_passes(workplace: Workplace) -> None:
    entries = "bert raises_fp raises_f raises_pf drift_ffp segfault_fp"
    junit = workplace.folder / "junit.xml"
    done = run(workplace, entries, "--repeat", "2", f"--junitxml={junit}")
    assert done.returncode == 1, done.stdout
    assert verdicts(workplace) == {
        "bert": ("measure", "pass", "ok"),
        "raises_fp": ("prepare", "flaky", "flaky"),
        "raises_f": ("prepare", "fail", "new"),
        "raises_pf": ("measure", "pass", "ok"),  # nothing gave a reason to run it again
        "drift_ffp": ("verify", "flaky", "flaky"),
        "segfault_fp": ("prepare", "flaky", "flaky"),
    }
    tries = {"raises_fp": 2, "raises_f": 3, "raises_pf": 1, "drift_ffp": 3, "segfault_fp": 2}
    assert attempted(workplace) == tries
    assert counted(workplace) == {
        "raises_fp": (2, 1),
        "raises_f": (3, 0),
        "drift_ffp": (3, 1),
        "segfault_fp": (2, 1),
    }
    row = workplace.cells("wavering")["segfault_fp"]
    assert row["reason"].startswith("passed in 1 of 2 attempts, else crash: killed by SIGSEGV")
    assert "1: crash at prepare" in row["error"]
    assert "2: pass" in row["error"]
    assert "2 ok, 1 new, 3 flaky; 6 cells" in done.stdout
    assert "passed in 1 of 2 attempts, else fail: RuntimeError: mat1 and mat2" in done.stdout
    assert "\nflaky at prepare\npassed in 1 of 2 attempts" in done.stdout
    assert "  1, 2, 3: fail at prepare: RuntimeError: mat1 and mat2 shapes cannot" in done.stdout
    assert "--repeat 2" in next(
        line for line in done.stdout.splitlines() if line.startswith("rerun:")
    )
    suite = ET.parse(junit).getroot()
    properties = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in suite.iter("testcase")
    }
    found = properties["raises_fp[wavering-default]"]
    assert (found["outcome"], found["verdict"]) == ("flaky", "flaky")
    assert (found[ATTEMPTS], found[ATTEMPTS_PASSED]) == ("2", "1")
    assert ATTEMPTS not in properties["bert[wavering-default]"]


def test_an_expected_failure_stays_one_unless_it_wavers(workplace: Workplace) -> None:
    folder = shutil.copytree(FAKES / "wavering", workplace.folder / "copies" / "wavering")
    row = (
        '[[expect]]\nentry = "{}"\nstage = "prepare"\noutcome = "{}"\nowner = "ours"\n'
        'reason = "known"\n\n'
    )
    expected = {"raises_f": "fail", "raises_fp": "fail", "raises_pf": "fail"}
    expected |= {"raises_ffp": "flaky", "raises_p": "flaky", "raises_ffff": "flaky"}
    file = folder / "expectations.toml"
    file.write_text("".join(row.format(*pair) for pair in expected.items()))
    before = file.read_text()
    done = run(workplace, " ".join(expected), "--repeat", "2", backends=folder.parent)
    assert verdicts(workplace) == {
        "raises_f": ("prepare", "fail", "xfail"),
        "raises_fp": ("prepare", "flaky", "flaky"),
        "raises_pf": ("prepare", "flaky", "flaky"),  # its pass was not believed
        "raises_ffp": ("prepare", "flaky", "xfail"),
        "raises_p": ("measure", "pass", "ok"),  # one of its two answers
        "raises_ffff": ("prepare", "fail", "xfail"),
    }, done.stdout
    assert 'with outcome = "flaky"' in done.stdout
    assert file.read_text() == before


def test_an_interrupted_repeat_costs_no_result(workplace: Workplace) -> None:
    done = run(workplace, "bert raises_fi", "-n", "1", "--repeat", "5")
    assert done.returncode == 130, done.stdout
    assert verdicts(workplace) == {
        "bert": ("measure", "pass", "ok"),
        "raises_fi": ("prepare", "fail", "new"),
    }
    assert "wavering: 1 of 2 cells passed" in done.stdout
    assert "1 failed, 1 passed" in done.stdout  # pytest counts what is stored


def test_stopping_at_the_first_failure_waits_for_its_repeats(workplace: Workplace) -> None:
    models = " ".join(f"model{number}" for number in range(20))
    done = run(workplace, f"raises_fp {models}", "-n", "1", "-x", "--repeat", "3")
    assert done.returncode == 1
    assert verdicts(workplace)["raises_fp"] == ("prepare", "flaky", "flaky")
    assert "1 failed" in done.stdout
    assert f"{len(verdicts(workplace)) - 1} passed" in done.stdout


def test_history_counts_flaky_runs_and_calls_none_regressed(workplace: Workplace) -> None:
    run(workplace, "raises_pfpf")
    assert verdicts(workplace)["raises_pfpf"][2] == "ok"
    run(workplace, "raises_pfpf", "--repeat", "1")
    assert verdicts(workplace)["raises_pfpf"][2] == "flaky"
    done = run(workplace, "raises_pfpf")
    assert verdicts(workplace)["raises_pfpf"][2] == "regressed"  # in one attempt, for all we know
    assert "flaky in 1 earlier run\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--repeat", "-1"), "expected --repeat to be a number from 0 to 100, found -1"),
        (("--repeat", "1", "--repro", "bert"), "expected --repeat or --repro, found both"),
    ],
)
def test_options_that_say_nothing(
    workplace: Workplace, options: tuple[str, ...], said: str
) -> None:
    done = run(workplace, "bert", *options)
    assert done.returncode == 4
    assert said in done.stdout


def failed(make: Make, **changes: object) -> CellResult:
    given = {"outcome": Outcome.FAIL, "stage": Stage.RUN, "reason": "broken", "cause": "c"}
    return make(**(given | changes))


def test_numbers_are_those_of_the_first_failure(make_result: Make) -> None:
    passed = make_result(seconds=1.0, score=1.0)
    further = CellFailure(Stage.GENERATE, Outcome.FAIL, "tokens", "t", "")
    wrong = failed(make_result, seconds=2.0, score=90.0, further=[further])
    result = combined([passed, wrong, failed(make_result, seconds=3.0)])
    assert (result.outcome, result.stage, result.seconds, result.score) == (
        Outcome.FLAKY, Stage.RUN, 2.0, 90.0,
    )  # fmt: skip
    assert result.reason == "passed in 1 of 3 attempts, else fail: broken"
    assert [one.outcome for one in result.failures] == [Outcome.FLAKY, Outcome.FLAKY]
    assert (wrong.further, wrong.outcome) == ([further], Outcome.FAIL)  # left as they were
    assert combined([wrong]) is wrong
    again = combined([wrong, wrong])
    assert (again.outcome, again.reason, again.cause) == (Outcome.FAIL, "broken", "c")


def test_only_what_proves_nothing_yet_is_run_again(make_result: Make) -> None:
    assert wants_another(failed(make_result), 1, 2)
    assert not wants_another(failed(make_result), 3, 2)
    assert not wants_another(failed(make_result), 1, 0)
    assert not wants_another(make_result(verdict=Verdict.OK), 1, 2)
    assert wants_another(make_result(verdict=Verdict.IMPROVED), 1, 2)
    for outcome in (Outcome.FLAKY, Outcome.ABSENT):
        assert not wants_another(failed(make_result, outcome=outcome), 1, 2)


def test_only_a_flaky_row_expects_a_flaky_cell(make_result: Make) -> None:
    flaky = failed(make_result, outcome=Outcome.FLAKY)

    def verdict(outcome: Outcome | None, result: CellResult) -> Verdict:
        row = Expectation("bert", Scope(), Failure(Stage.RUN, outcome, "broken"))
        return Expectations((row,)).judge(result, Outcome.PASS)

    assert verdict(Outcome.FLAKY, flaky) is Verdict.XFAIL
    assert verdict(Outcome.FAIL, flaky) is verdict(None, flaky) is Verdict.FLAKY
    assert Expectations().judge(flaky, Outcome.PASS) is Verdict.FLAKY
    assert verdict(Outcome.FLAKY, failed(make_result)) is Verdict.XFAIL
    assert verdict(Outcome.FLAKY, failed(make_result, reason="other")) is Verdict.CHANGED
    assert verdict(Outcome.FLAKY, make_result()) is Verdict.OK
    assert verdict(Outcome.FAIL, make_result()) is Verdict.IMPROVED


def test_a_flaky_row_outlives_a_pass(make_result: Make) -> None:
    row = Expectation("bert", Scope(), Failure(Stage.RUN, Outcome.FLAKY, "broken", reason="a race"))
    known = Expectations((row,))
    text = updated(known, [make_result()])
    assert 'outcome = "flaky"' in text
    assert "a race" in text
    assert 'outcome = "flaky"' in updated(
        Expectations(), [failed(make_result, outcome=Outcome.FLAKY)]
    )
    plain = Expectations((Expectation("bert", Scope(), Failure(Stage.RUN, Outcome.FAIL)),))
    assert "[[expect]]" not in updated(plain, [make_result()])


def test_a_difference_to_a_flaky_cell_is_no_regression() -> None:
    key = CellKey("torch-cpu", "default", "bert", "base")
    passes, flaky = State("pass"), State("flaky", "run", "c", green=False)
    fails = State("fail", "run", "c", green=False)

    def kinds(before: State, after: State) -> list[Kind]:
        return [change.kind for change in changes({key: before}, {key: after})]

    assert kinds(passes, flaky) == kinds(fails, flaky) == [Kind.FLAKY]
    assert kinds(flaky, flaky) == []
    assert kinds(flaky, passes) == [Kind.IMPROVED]
    assert kinds(flaky, fails) == [Kind.CHANGED]
    assert changes({key: passes}, {key: flaky})[0].worse


def test_a_repeated_result_takes_the_place_of_the_first(
    tmp_path: Path, make_result: Make, make_run: Callable[..., RunInfo]
) -> None:
    first = failed(make_result, further=[CellFailure(Stage.GENERATE, Outcome.FAIL, "", "", "")])
    with Store.open(tmp_path / "mock.duckdb") as store:
        store.begin(make_run("r1"))
        store.add("r1", make_result("vit"))
        store.add("r1", first)
        store.add("r1", combined([first, make_result()]), again=True)
        assert store.flaky_runs("good") == {("bert", "base", "default"): 1}
        assert set(store.last_green("good")) == {("vit", "base", "default")}
    with duckdb.connect(str(tmp_path / "mock.duckdb")) as connection:
        cells = connection.execute("SELECT entry, outcome FROM cells ORDER BY 1").fetchall()
        further = connection.execute("SELECT outcome FROM further_failures").fetchall()
    assert cells == [("bert", "flaky"), ("vit", "pass")]
    assert further == [("flaky",)]


@pytest.mark.parametrize("kind", [Pool, SharedPool])
def test_a_pool_runs_a_task_again_as_often_as_it_is_told(
    kind: type[Pool[int]], tmp_path: Path
) -> None:
    ended: dict[str, int] = {}

    def finish(task: Task, ending: Ending) -> int:
        ended[task.label] = ended.get(task.label, 0) + 1
        return ended[task.label]

    settings = WorkerSettings(workers=2, limits=Limits(20.0, 300), shared=kind is SharedPool)
    tasks = [Task("device_targets:run", Work(n, tmp_path), n) for n in ("fine", "again", "more")]
    wanted = {"fine": 1, "again": 2, "more": 3}
    with kind(finish, settings, repeat=lambda task, value: value < wanted[task.label]) as pool:
        values = [future.result(timeout=60) for future in pool.start(tasks)]
    assert values == [1, 2, 3]


def test_a_closed_pool_gives_the_value_so_far(tmp_path: Path) -> None:
    settings = WorkerSettings(workers=1, limits=Limits(20.0, 300))
    tasks = [Task("device_targets:run", Work(name, tmp_path), name) for name in ("on", "waiting")]
    pool: Pool[str] = Pool(lambda task, ending: "so far", settings, lambda task, value: True)
    with pool:
        endless, waiting = pool.start(tasks)
        while not pool._futures.has_value(endless):
            assert not waiting.done()
    assert endless.result(timeout=0) == "so far"
    assert waiting.cancelled()
