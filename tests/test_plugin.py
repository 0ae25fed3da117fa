"""The plugin end to end, on fake backends: what is run, judged, stored and said."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from workplace import FAKES, ROOT, Workplace

from harness import plugin
from harness.catalog.chosen_lists import ChosenLists
from harness.contract import HarnessError, Outcome, Stage, Verdict
from harness.session.options import Options, cells_at_once
from harness.session.run import Run
from harness.workers.limits import Limits
from harness.workers.settings import cores

FAULTS = (
    "segfault hang big killed leaves exits raises refuses nan constant drift corrupt lies noisy"
)


Done = subprocess.CompletedProcess[str]
Faulty = tuple[Workplace, Done]
Runs = dict[str, Future[Faulty]]

#: Runs that need nothing but their arguments: entries, backend, arguments.
RUNS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "faulty": (
        f"bert {FAULTS} vit",
        "faulty",
        (*("--timeout", "3", "-n", "2", "--durations=3"), "--junitxml={folder}/junit.xml"),
    ),
    "precisions": ("vit", "good", ("--precision", "all", "-v")),
    "no precision": ("vit", "good", ("--precision", "f15")),
    "unavailable": ("vit bert", "unavailable", ()),
    "required": ("vit", "unavailable", ("--require-device",)),
    "import_error": ("vit", "import_error", ()),
    "broken": ("vit", "broken", ()),
    "nothing": ("vit", "good", ("-k", "bert")),
    "empty shard": (
        "vit bert gpt2",
        "good",
        ("--shard", "2/3", "-k", "vit", "--require-device", "--junitxml={folder}/junit.xml"),
    ),
    "empty in all shards": ("vit bert gpt2", "good", ("--shard", "2/3", "-k", "t5")),
    "all absent": ("lacks", "loud", ()),
    "all absent in a shard": ("vit lacks", "loud", ("--shard", "2/2")),
    "misspelt": ("vit", "good", ("--models", "vitt")),
    "repro": ("vit noisy", "faulty", ("--repro", "noisy")),
    "stop": (
        " ".join(["bert", "raises", *(f"model{n}" for n in range(40))]),
        "faulty",
        ("-x", "-q", "--tb=no", "-n", "1"),
    ),
    "cache": (
        "bert raises roberta vit",
        "faulty",
        ("-p", "cacheprovider", "-ocache_dir={folder}/cache", "-k", "raises or roberta"),
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All of `RUNS`, on as many cores as there are, while the tests look at those that are done."""

    def one(name: str) -> Faulty:
        entries, backend, arguments = RUNS[name]
        workplace = Workplace(tmp_path_factory.mktemp(name.replace(" ", "_")))
        workplace.write(vision=entries)
        filled = [word.format(folder=workplace.folder) for word in arguments]
        return workplace, workplace.run(backend, *filled)

    with ThreadPoolExecutor(cores()) as executor:
        yield {name: executor.submit(one, name) for name in RUNS}


@pytest.fixture
def faulty(runs: Runs) -> Faulty:
    """One run over everything that can go wrong, between entries that are right."""
    return runs["faulty"].result()


def test_every_fault_is_named_by_stage_and_outcome(faulty: Faulty) -> None:
    workplace, done = faulty
    found = {
        name: (row["stage"], row["outcome"], row["verdict"])
        for name, row in workplace.cells("faulty").items()
    }
    assert found == {
        "bert": ("measure", "pass", "ok"),
        "vit": ("measure", "pass", "ok"),
        "noisy": ("measure", "pass", "ok"),
        "segfault": ("prepare", "crash", "new"),
        "killed": ("prepare", "crash", "new"),
        "leaves": ("prepare", "crash", "new"),
        "exits": ("prepare", "crash", "new"),
        "corrupt": ("run", "crash", "new"),
        "hang": ("prepare", "timeout", "new"),
        "big": ("prepare", "oom", "new"),
        "raises": ("prepare", "fail", "new"),
        "refuses": ("prepare", "unsupported", "new"),
        "nan": ("verify", "fail", "new"),
        "constant": ("verify", "fail", "new"),
        "drift": ("verify", "fail", "new"),
        "lies": ("verify", "fail", "new"),
    }
    assert done.returncode == 1
    assert "13 failed, 3 passed" in done.stdout


def test_the_header_says_what_will_run(faulty: Faulty) -> None:
    _, done = faulty
    assert "backend: faulty, A fake that fails in every way" in done.stdout
    assert "device: Fake 1 (cpu, EMULATED: no hardware result); fake 1.0" in done.stdout
    assert "entries: 16 of 16, precision default, size tiny, seed 0" in done.stdout
    assert re.search(
        r"cells: 16, 2 at once with \d+ threads?, 3 s and 4096 MB for each", done.stdout
    )


def test_the_summary_has_totals_causes_and_the_place(faulty: Faulty) -> None:
    workplace, done = faulty
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "family pass fail crash timeout oom unsupported passed" in lines
    assert "vision 3 5 5 1 1 1 18.8% of 16" in lines
    assert "3 ok, 13 new; 16 cells" in lines
    ranked = lines.index("causes, by the entries that each keeps from passing")
    assert re.match(r"2 fail at verify: CheckFailed: .* relative error <n>", lines[ranked + 1])
    assert lines[ranked + 2] == "constant, drift"
    assert any(re.match(r"slowest: hang (2\.[5-9]|3\.\d) s, ", line) for line in lines)
    assert any(re.match(r"cost: .* wall, [\d.]+ s of CPU a cell", line) for line in lines)
    assert any(line.startswith(f"results: {workplace.results}/faulty.duckdb") for line in lines)


def test_a_failure_is_short_and_says_how_to_rerun_it(faulty: Faulty) -> None:
    _, done = faulty
    start = done.stdout.index("_ segfault[faulty-default] _")
    text = done.stdout[start : done.stdout.index("_ hang[faulty-default] _")]
    assert "new: crash at prepare\nkilled by SIGSEGV (segmentation fault), in ctypes:string" in text
    assert "in segfault" in text  # faulthandler's stack
    assert re.search(r"rerun: python -m pytest --backend faulty --models segfault", text)
    assert len(text.splitlines()) < 25
    assert "FAILED" in done.stdout
    assert "::raises[faulty-default] - new: fail at prepare: RuntimeError: mat1" in done.stdout


def test_there_are_no_dots(faulty: Faulty) -> None:
    _, done = faulty
    between = done.stdout[done.stdout.index("cells: 16") : done.stdout.index("= FAILURES =")]
    assert not re.search(r"[.FsxE]{3}|\[ *\d+%\]|toml", between)


def test_junit_has_the_cells_own_times_and_outcomes(faulty: Faulty) -> None:
    workplace, _ = faulty
    tree = ET.parse(workplace.folder / "junit.xml")
    suite = next(tree.iter("testsuite"))
    assert (suite.get("tests"), suite.get("failures")) == ("16", "13")
    case = next(c for c in tree.iter("testcase") if c.get("name") == "hang[faulty-default]")
    assert 2.5 < float(case.get("time", "0")) < 5
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties == {
        "family": "vision", "stage": "prepare", "outcome": "timeout", "verdict": "new",
        "cause": "timeout: still at prepare",
    }  # fmt: skip
    suite_properties = next(suite.iter("properties"))
    properties = {p.get("name"): p.get("value") for p in suite_properties}
    assert re.match(r"\d{8}T\d{6}Z-", str(properties.pop("run_id")))
    assert properties == {
        "backend": "faulty", "device": "Fake 1 (cpu)", "emulated": "true", "precision": "default",
        "versions": "fake 1.0", "size": "tiny", "seed": "0",
    }  # fmt: skip
    failure = next(case.iter("failure"))
    assert "new: timeout at prepare: still at prepare after 3 s" in str(failure.get("message"))


def test_durations_are_the_cells_own(faulty: Faulty) -> None:
    _, done = faulty
    slowest = done.stdout[done.stdout.index("slowest 3 durations") :]
    assert re.search(r"(2\.[5-9]|3\.)\d+s call +.*::hang\[faulty-default\]", slowest)


def test_the_run_is_described_in_the_results(faulty: Faulty) -> None:
    workplace, _ = faulty
    with duckdb.connect(str(workplace.results / "faulty.duckdb"), read_only=True) as connection:
        query = "SELECT backend, device, emulated, seed, finished_at > started_at FROM runs"
        assert connection.execute(query).fetchall() == [("faulty", "Fake 1 (cpu)", True, 0, True)]
        versions, arguments = connection.execute("SELECT versions, arguments FROM runs").fetchall()[
            0
        ]
        assert '"fake": "1.0"' in versions
        assert '"python"' in versions
        assert "--timeout" in arguments
        names = connection.execute(
            "SELECT DISTINCT name FROM metrics WHERE entry = 'bert'"
        ).fetchall()
    assert {"cpu", "cpu_build", "cpu_verify", "inference"} <= {name for (name,) in names}


def test_expectations_are_written_judged_and_kept(workplace: Workplace) -> None:
    """new -> written down -> expected; then a change, an improvement and a regression show."""
    backends = workplace.folder / "fakes"
    shutil.copytree(FAKES, backends, ignore=shutil.ignore_patterns("__pycache__"))
    path = backends / "faulty" / "expectations.toml"
    workplace.write(vision="bert raises drift refuses")

    first = workplace.run("faulty", "--update-expectations", "--tb=no", backends=backends)
    assert first.returncode == 1
    assert f"expectations: {path} rewritten" in first.stdout
    assert 'entry = "raises"' in path.read_text()

    second = workplace.run("faulty", "-v", backends=backends)
    assert second.returncode == 0, second.stdout
    assert "1 passed, 3 xfailed" in second.stdout
    assert "::raises[faulty-default] XFAIL" in second.stdout
    assert "the reason is blank" in second.stdout
    assert {r["verdict"] for r in workplace.cells("faulty").values()} == {"ok", "xfail"}

    text = path.read_text()
    text = text.replace('entry = "raises"', 'entry = "bert"').replace('"prepare"', '"verify"')
    path.write_text(text.replace('entry = "drift"', 'entry = "vit"'))
    workplace.write(vision="bert raises drift refuses vit")
    with duckdb.connect(str(workplace.results / "faulty.duckdb")) as connection:
        connection.execute("UPDATE cells SET outcome = 'pass' WHERE entry = 'drift'")
    third = workplace.run("faulty", backends=backends)
    assert third.returncode == 1
    assert {name: row["verdict"] for name, row in workplace.cells("faulty").items()} == {
        "bert": "improved", "raises": "new", "drift": "regressed", "refuses": "changed",
        "vit": "improved",
    }  # fmt: skip
    assert "it passes now. Fix: delete that row" in third.stdout
    assert "expected unsupported at verify" in third.stdout
    assert "it passed before" in third.stdout


def test_rows_of_tiny_models_need_not_show_at_another_size_or_seed(workplace: Workplace) -> None:
    backends = workplace.folder / "fakes"
    shutil.copytree(FAKES, backends, ignore=shutil.ignore_patterns("__pycache__"))
    row = '[[expect]]\nentry = "bert"\nstage = "verify"\nowner = "ours"\nreason = "It was so."\n'
    (backends / "faulty" / "expectations.toml").write_text(
        row + row.replace("bert", "vit").replace("owner", 'checks = "deep"\nowner')
    )
    workplace.write(vision="bert vit")

    def verdicts(*arguments: str) -> dict[str, str]:
        workplace.run("faulty", *arguments, backends=backends)
        return {name: row["verdict"] for name, row in workplace.cells("faulty").items()}

    assert verdicts() == {"bert": "improved", "vit": "ok"}
    assert verdicts("--checks=deep") == {"bert": "improved", "vit": "improved"}
    assert verdicts("--size=wide") == {"bert": "ok", "vit": "ok"}
    assert verdicts("--seed=7") == {"bert": "ok", "vit": "ok"}


def test_a_backend_may_name_what_it_runs_by_itself(workplace: Workplace) -> None:
    backends = workplace.folder / "fakes"
    shutil.copytree(FAKES, backends, ignore=shutil.ignore_patterns("__pycache__"))
    path = backends / "good" / "backend.toml"
    path.write_text('models = "vision"\n' + path.read_text())
    workplace.write(encoder_only="bert", vision="vit")

    def names(*arguments: str) -> list[str]:
        done = workplace.run("good", "--co", "-q", *arguments, backends=backends)
        return re.findall(r"::(\w+)\[good-default\]", done.stdout)

    assert names() == ["vit"]
    assert names("--models", "bert") == ["bert"]
    assert names("--models", "all") == ["bert", "vit"]


def test_a_quiet_run_is_quiet_and_x_stops_what_has_not_started(runs: Runs) -> None:
    workplace, done = runs["stop"].result()
    assert done.returncode == 1
    assert re.search(r"faulty: \d+ of \d+ cells passed: \d+ ok, 1 new", done.stdout)
    assert "backend:" not in done.stdout
    cells = workplace.cells("faulty")
    assert {"bert", "raises"} <= set(cells)
    assert len(cells) < 40
    # Cells run ahead of pytest: those that ended are reported, the others are said not to have run.
    passed = sum(cell["outcome"] == "pass" for cell in cells.values())
    assert f"1 failed, {passed} passed" in done.stdout
    assert f"faulty: {passed} of {len(cells)} cells passed" in done.stdout
    assert f"{42 - len(cells)} of the 42 selected cells were not run" in done.stdout
    with duckdb.connect(str(workplace.results / "faulty.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT finished_at FROM runs").fetchall() == [(None,)]


def test_selection_by_name_precision_shard_and_path(workplace: Workplace) -> None:
    workplace.write(encoder_only="albert bert roberta", vision="raises vit")

    def names(*arguments: str) -> list[str]:
        return [name.split("[")[0] for name in workplace.collect("faulty", *arguments)]

    assert names() == ["albert", "bert", "roberta", "raises", "vit"]
    assert names("--models", "Vision,bert") == ["bert", "raises", "vit"]
    assert names("--shard", "1/2") == ["albert", "roberta", "vit"]
    assert names("--shard", "2/2") == ["bert", "raises"]
    assert names("-k", "bert[ and not al") == ["bert"]
    assert names("--models", "vit", "--precision", "default, f16") == ["vit", "vit"]
    assert names(str(workplace.lists / "vision.toml")) == ["raises", "vit"]
    assert names(f"{workplace.lists}/encoder_only.toml::bert[faulty-default]") == ["bert"]
    assert workplace.collect("good", "--models", "bert") == ["bert[good-default]"]
    assert not workplace.results.exists()


def test_last_failed(runs: Runs) -> None:
    workplace, done = runs["cache"].result()
    assert "1 failed, 1 passed, 2 deselected" in done.stdout
    cache = ("-p", "cacheprovider", f"-ocache_dir={workplace.folder}/cache")
    assert workplace.collect("faulty", *cache, "--lf") == ["raises[faulty-default]"]
    assert workplace.collect("faulty", *cache, "--ff")[0] == "raises[faulty-default]"


def test_precisions_are_the_backends(runs: Runs) -> None:
    _, done = runs["precisions"].result()
    assert done.returncode == 0, done.stdout
    assert "::vit[good-default] PASSED" in done.stdout
    assert "::vit[good-f16] PASSED" in done.stdout
    _, wrong = runs["no precision"].result()
    assert wrong.returncode == pytest.ExitCode.USAGE_ERROR
    assert "(default, f16, or all), found 'f15'. Did you mean `f16`?" in wrong.stdout


def test_a_backend_is_chosen_by_the_environment_too(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    arguments = [f"--backends-dir={FAKES}", f"--lists={workplace.lists}", "--co", "-q"]
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest"), *arguments],
        cwd=ROOT / "tests", env=workplace.environment(HARNESS_BACKEND="good"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "::vit[good-default]" in done.stdout, done.stdout + done.stderr


def test_without_its_device_a_session_is_skipped(runs: Runs) -> None:
    workplace, done = runs["unavailable"].result()
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    assert "skipped: Expected a Fake 1 in slot 3, found none. Fix: plug one in." in done.stdout
    assert not workplace.results.exists()


def test_a_device_can_be_required(runs: Runs) -> None:
    _, done = runs["required"].result()
    assert done.returncode == 1
    assert "--require-device: Expected a Fake 1 in slot 3" in done.stdout


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("import_error", "expected the package fake_sdk_that_nobody_has, found none"),
        ("broken", "found that its process ended with crash: killed by SIGSEGV"),
    ],
)
def test_a_backend_that_cannot_be_opened(runs: Runs, backend: str, message: str) -> None:
    _, done = runs[backend].result()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stdout
    assert "INTERNALERROR" not in done.stdout
    # A whole list's architectures are imported too, and nobody would read their names.
    assert backend != "broken" or re.search(r"imports abc, .* code and \d more\)", done.stdout)


def test_nothing_selected(runs: Runs) -> None:
    _, done = runs["nothing"].result()
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "0 of 1 entries ran. Fix: `python -m harness list`" in done.stdout


def test_an_empty_shard_of_a_selection_is_green(runs: Runs) -> None:
    workplace, done = runs["empty shard"].result()
    assert done.returncode == 0, done.stdout
    assert "good: shard 2/3 holds no cells; the other shards hold all 1" in done.stdout
    assert not workplace.results.exists()
    suite = next(ET.parse(workplace.folder / "junit.xml").iter("testsuite"))
    assert (suite.get("tests"), suite.get("errors")) == ("0", "0")


def test_a_selection_that_is_empty_in_all_shards_is_not(runs: Runs) -> None:
    _, done = runs["empty in all shards"].result()
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "0 of 3 entries ran. Fix: `python -m harness list`" in done.stdout


def test_a_run_that_runs_nothing_is_not_green(runs: Runs) -> None:
    _, done = runs["all absent"].result()
    expected = "loud: nothing was run, 1 of 1 cells are absent"
    assert expected in done.stdout
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    _, sharded = runs["all absent in a shard"].result()  # the other shard may have some
    assert expected in sharded.stdout
    assert sharded.returncode == 0


@pytest.mark.parametrize(
    ("text", "workers"), [("0", 1), ("1", 1), ("7", 7), ("auto", cores()), ("logical", cores())]
)
def test_n_is_as_with_xdist(text: str, workers: int) -> None:
    assert cells_at_once(text) == workers


@pytest.mark.parametrize("text", ["-1", "2.5", "many", "", "9" * 5000])
def test_another_n_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match=r"expected -n to be a number .* Fix: -n auto"):
        cells_at_once(text)


def test_bad_input_is_a_usage_error(runs: Runs) -> None:
    _, done = runs["misspelt"].result()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: expected a subset, a family or an entry, found 'vitt'. Did you mean" in done.stdout
    )


def test_repro_runs_here(runs: Runs) -> None:
    workplace, done = runs["repro"].result()
    assert done.returncode == 0, done.stdout
    assert "noisy[faulty-default]: prepare\nprinted by the model" in done.stdout
    assert list(workplace.cells("faulty")) == ["noisy"]


def start(workplace: Workplace, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        workplace.command(*arguments),
        cwd=ROOT,
        env=workplace.environment(TMPDIR=str(workplace.folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # its Ctrl-C is not ours
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def hanging(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything that a run has started, once its fork server has a child that sleeps."""
    started = psutil.Process(process.pid).children(recursive=True)
    return started if len(started) >= 3 else []


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_keeps_what_is_done(
    workplace: Workplace, number: signal.Signals
) -> None:
    workplace.write(vision="vit bert hang roberta")
    process = start(workplace, "faulty", "-n", "1", "-v")
    assert process.stdout is not None
    seen = ""
    while "::bert[faulty-default] PASSED" not in seen:  # whose line has no end yet
        character = process.stdout.read(1)
        assert character, seen
        seen += character
    wait_until(lambda: bool(hanging(process)))
    everything = hanging(process)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == (130 if number is signal.SIGINT else -number)
    assert set(workplace.cells("faulty")) == {"vit", "bert"}
    if number is signal.SIGINT:
        assert "faulty: 2 of 2 cells passed" in output
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@posix
def test_a_full_disk_stops_the_run_and_keeps_what_is_stored(workplace: Workplace) -> None:
    workplace.write(vision=" ".join(f"noisy{n}" for n in range(40)))
    from resource import RLIMIT_FSIZE, setrlimit

    environment = workplace.environment(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(
        workplace.command("good", "-n", "1"),
        cwd=ROOT,
        env={n: v for n, v in environment.items() if "COVERAGE" not in n},  # it writes files too
        preexec_fn=lambda: setrlimit(RLIMIT_FSIZE, (16_000, 16_000)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.search(r"could not be written: .* The (\d+) cells that this run stored", done.stdout)
    assert found is not None, done.stdout
    assert 0 < int(found[1]) < 40
    assert len(workplace.cells("good")) == int(found[1])
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_a_cache_limit_that_is_no_number_is_a_usage_error(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    done = workplace.run("good", HARNESS_CACHE_MB="much")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: expected HARNESS_CACHE_MB to be a number of megabytes, found 'much'" in done.stdout
    )


def test_results_in_use_are_a_usage_error(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    workplace.results.mkdir()
    with duckdb.connect(str(workplace.results / "good.duckdb")):
        done = workplace.run("good")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"found it open in process {os.getpid()}" in done.stdout


# --- What needs no run ----------------------------------------------------------------------------


def options(workplace: Workplace, **changes: Any) -> Options:
    given = {"backend": "good", "backends": FAKES, "lists": ChosenLists(workplace.lists)}
    return Options(**{**given, "results": workplace.results, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "god"}, "found 'god'. Did you mean `good`"),
        ({"models": "vitt"}, "found 'vitt'. Did you mean `vit`"),
        ({"lists": ChosenLists(Path("lists"))}, "found 'lists', which is not there"),
        ({"backend_options": {"fault": "slo=vit"}}, "(slow), found 'slo'. Did you mean `slow`"),
        ({"backend_options": {"fault": "slow=vti"}}, "found 'slow=vti'. Did you mean `vit`"),
        ({"backend": "faulty", "backend_options": {"fault": "slow=vit"}}, "(none), found 'slow'"),
    ],
)
def test_wrong_options_are_refused(
    workplace: Workplace, changes: dict[str, Any], message: str
) -> None:
    workplace.write(vision="vit bert")
    with pytest.raises(HarnessError) as caught:
        Run(options(workplace, **changes))
    assert message in str(caught.value)
    assert "Fix: " in str(caught.value)


def test_shards_are_even_disjoint_and_complete(workplace: Workplace) -> None:
    workplace.write(vision=" ".join(f"m{n}" for n in range(10)))
    shards = [Run(options(workplace, shard=(i, 3))).chosen.of_shard for i in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [4, 3, 3]
    assert frozenset().union(*shards) == Run(options(workplace)).chosen.of_shard


@pytest.mark.parametrize(
    ("precisions", "is_wanted"), [("f32", False), ("compile", True), ("all", True)]
)
def test_what_one_precision_needs_is_imported_for_it_alone(
    precisions: str, is_wanted: bool
) -> None:
    run = Run(Options("torch-cpu", models="bert", precisions=("f32", precisions)))
    assert ("backends._shared.torch.inductor" in run.settings.preload) is is_wanted


def test_a_precision_that_needs_more_time_gets_it(workplace: Workplace) -> None:
    workplace.write(vision="vit bert")
    options = ["--precision", "default,f16", "--timeout", "1", "--fault", "slow=vit"]
    done = workplace.run("good", *options)
    assert "1 s and 4096 MB for each, 2 s in f16\n" in done.stdout
    assert "still at prepare after 1 s" in done.stdout
    assert "still at prepare after 2 s" in done.stdout
    assert "2 failed, 2 passed" in done.stdout


def test_rerunning_repeats_what_matters(
    workplace: Workplace, make_result: Callable[..., Any]
) -> None:
    workplace.write(vision="vit")
    run = Run(options(workplace, size="full", seed=3, backend_options={"fault": "slow=vit"}))
    assert run.rerun(make_result("vit", precision="f16")).startswith(
        "python -m pytest --backend good --models vit --precision f16 --size full --seed 3 "
        "--fault slow=vit --backends-dir="
    )
    ours = Run(Options("torch-cpu", backend_options={"device": "cpu:0"}))
    assert ours.rerun(make_result("bert")) == (
        "nox -s torch-cpu -- --models bert --heads base --device cpu:0"
    )
    given = {"ep_library": "lib.so", "ep": "E", "ep_option": "a=1\nb=2"}
    vendor = Run(Options("torch-cpu", backend_options=given))
    assert vendor.rerun(make_result("bert")).endswith(
        "--ep-library lib.so --ep E --ep-option a=1 --ep-option b=2"
    )


def test_rewriting_expectations_is_all_or_nothing(
    workplace: Workplace, make_result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = workplace.folder / "fakes"
    shutil.copytree(FAKES, backends)
    workplace.write(vision="vit bert")
    run = Run(options(workplace, backends=backends))
    run.results = [make_result("vit", stage=Stage.RUN, outcome=Outcome.FAIL, verdict=Verdict.NEW)]
    assert run.update_expectations()
    before = run.spec.expectations.read_text()
    assert not run.update_expectations()

    def refuse(*_: Any) -> None:
        raise OSError("No space left on device")

    run.results = [make_result("bert", stage=Stage.RUN, outcome=Outcome.FAIL)]
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(HarnessError, match="No space left on device; it is as it was"):
        run.update_expectations()
    assert run.spec.expectations.read_text() == before
    assert sorted(p.name for p in run.spec.folder.iterdir()) == [
        "__pycache__", "backend.py", "backend.toml", "expectations.toml"
    ] or not list(run.spec.folder.glob(".*"))  # fmt: skip


def test_options_without_a_backend_are_no_accident(pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--require-device", "--co", "-q", "tests/test_main.py"],
        cwd=ROOT, env=Workplace(ROOT).environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected a backend beside --require-device, found none" in done.stderr


def test_the_help_says_the_true_defaults(pytestconfig: pytest.Config) -> None:
    text = Path(plugin.__file__).read_text()
    assert f"of one cell; {Limits().seconds:g}" in text
    assert f"that one cell may add; {Limits().memory_mb}" in text
    assert (Options("x").seed, Options("x").size, Options("x").precisions) == (
        0,
        "tiny",
        ("default",),
    )
