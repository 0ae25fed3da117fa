"""Cells on the nodes of a cluster: none is lost, none counts twice, and wrong nodes get none.

The engine is a fake here, `tests/cluster_bridge.py`; agents, their pools and the session are real.
`benchmarks/cluster.py` runs the same on dask.distributed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from workplace import ROOT, Workplace

from harness.cell.request import DeviceReport
from harness.cluster import engine, facts, messages
from harness.cluster.address import address_of
from harness.cluster.messages import MESSAGES, Began, Declined, Ended, Hello, NodeFacts, Running
from harness.cluster.relay import NotServed, Relay
from harness.cluster.schedule import AHEAD, Schedule
from harness.contract import CellFailure, Device, HarnessError, Outcome, Precision, Stage
from harness.workers import frames
from harness.workers.ending import Ending
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings, cores
from harness.workers.task import Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

FACTS = NodeFacts(
    "here", "/checkout", "a" * 40, "c0de", "10c4", {"numpy": "2.4.6"},
    ("Linux", "x86_64", "", "model name\t: EPYC", "flags\t\t: sse avx", ""), "3.11.7",
)  # fmt: skip


# --- Schedule -------------------------------------------------------------------------------------


def schedule(tickets: int, *slots: int) -> Schedule:
    made = Schedule()
    made.add(range(tickets))
    for number, count in enumerate(slots):
        made.join(f"n{number}", count)
    return made


def given(made: Schedule) -> dict[str, list[int]]:
    return dict(made.assignments())


def test_a_node_has_some_cells_in_hand_and_fewer_towards_the_end() -> None:
    made = schedule(200, 1, 2)
    found = given(made)
    assert [len(found[name]) for name in ("n0", "n1")] == [1 + AHEAD, 2 + AHEAD]
    assert len(given(schedule(8, 1, 1))["n0"]) < 8 // 2 + 1
    assert given(schedule(1, 4)) == {"n0": [0]}


def test_cells_of_a_lost_node_go_to_another() -> None:
    made = schedule(4, 2)
    held = given(made)["n0"]
    made.began("n0", held[0])
    made.join("n1", 1)
    assert made.lose("n0") == []
    again = given(made)
    assert again == {"n1": [held[0]]}  # it had begun: alone, and before all others
    assert made.ended("n1", held[0])
    assert set(given(made)["n1"]) <= {1, 2, 3}
    assert made.rerun == len(held)


def test_a_cell_that_ends_its_nodes_is_given_up_at_the_second() -> None:
    made = schedule(1, 1)
    given(made)
    made.began("n0", 0)
    assert made.lose("n0") == []
    made.join("n1", 1)
    assert given(made) == {"n1": [0]}
    made.began("n1", 0)
    assert made.lose("n1") == [0]
    assert not made.unfinished


def test_those_beside_a_cell_that_ends_nodes_are_not_given_up() -> None:
    made = schedule(6, 3)
    for ticket in given(made)["n0"]:
        made.began("n0", ticket)
    ended: set[int] = set()
    given_up: list[int] = made.lose("n0")
    for number in range(1, 40):
        if not made.unfinished:
            break
        name = f"n{number}"
        made.join(name, 3)
        while held := given(made).get(name, []):
            assert len(held) == 1 or 0 not in held  # a suspect is alone
            if 0 in held:
                made.began(name, 0)
                given_up += made.lose(name)
                break
            for ticket in held:
                assert made.ended(name, ticket)
                ended.add(ticket)
    assert given_up == [0]
    assert ended == {1, 2, 3, 4, 5}


def test_an_answer_of_a_node_that_was_taken_for_lost_counts_once() -> None:
    made = schedule(1, 1)
    given(made)
    made.lose("n0")
    assert made.ended("n0", 0)  # it went on after all
    assert not made.unfinished
    made.join("n1", 1)
    assert given(made) == {}
    assert not made.ended("n0", 0)
    assert made.doubled == 1


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_lost_or_doubled_whatever_happens_to_nodes(seed: int) -> None:
    chance = random.Random(seed)
    made = schedule(60, 1, 2, 3)
    at_nodes: dict[str, list[int]] = {name: [] for name in made.nodes}
    late: list[tuple[str, int]] = []  # of nodes that are lost, and answer still
    counted: Counter[int] = Counter()
    joined = 3
    for _ in range(5000):
        for name, tickets in made.assignments():
            at_nodes[name] += tickets
        if not made.unfinished:
            break
        name = chance.choice(list(made.nodes) or ["none"])
        happening = chance.random()
        if happening < 0.03 and name in made.nodes:
            late += [(name, ticket) for ticket in at_nodes.pop(name)]
            counted.update(made.lose(name))
            joined += 1
            made.join(f"n{joined}", chance.randint(1, 4))
            at_nodes[f"n{joined}"] = []
        elif happening < 0.06 and late:
            gone, ticket = late.pop(chance.randrange(len(late)))
            counted[ticket] += made.ended(gone, ticket)
        elif at_nodes.get(name):
            ticket = at_nodes[name][0]
            made.began(name, ticket)
            if chance.random() < 0.8:
                at_nodes[name].remove(ticket)
                counted[ticket] += made.ended(name, ticket)
    assert counted == Counter(range(60))


# --- Messages, addresses and facts ----------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Hello(FACTS, DeviceReport(Device("Fake", "npu"), (Precision("default", "float32"),))),
        Hello(FACTS, None, "there is none.", "plug one in."),
        Began(3),
        Running((messages.RunningCell(3, Stage.RUN, 1.5),)),
        Declined("so"),
    ],
    ids=["device", "none", "began", "running", "refused"],
)
def test_messages_cross(message: object) -> None:
    assert frames.decode_one_of(frames.encode(message), MESSAGES) == message


@pytest.mark.parametrize(
    "ending",
    [
        Ending(None, Stage.VERIFY, 1.0, value={"a": [1, None]}, cpu_seconds=0.5),
        Ending(
            Outcome.CRASH, Stage.RUN, 2.0, reason="x", cause="y", error="z\n", peak_rss_mb=1.0,
            before="b", disturbed=True,
            failures=(CellFailure(Stage.RUN, Outcome.FAIL, "r", "c", "e"),),
        ),
    ],
    ids=["returned", "failed"],
)  # fmt: skip
def test_endings_cross(ending: Ending) -> None:
    told = frames.decode_one_of(frames.encode(messages.ended(7, ending)), MESSAGES)
    assert isinstance(told, Ended)
    assert told.ticket == 7
    assert messages.ending_of(told) == ending


def test_an_agent_sends_no_message_of_a_child() -> None:
    with pytest.raises(frames.FrameError, match="expected one of Hello"):
        frames.decode_one_of(b'["Ready", {"leads_group": true}]', MESSAGES)


def test_addresses(tmp_path: Path) -> None:
    assert address_of("local:3").nodes == 3
    for text in ("tcp://10.0.0.1:8786", "login1:8786", "tls://[::1]:8786"):
        assert (str(address_of(text)), address_of(text).nodes) == (text, 0)
    assert address_of(str(tmp_path / "s.json")).text == str(tmp_path / "s.json")


@pytest.mark.parametrize("text", ["", "local", "local:0", "local:65", "host", "tcp://", "a b:1"])
def test_an_address_of_no_form_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match=r"(?s)expected --cluster to be .* Fix: "):
        address_of(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"host": "there", "processor": ()}, ""),  # another matter
        ({"code": "other"}, "expected the code of this session (commit aaaaaaaaaaaa, digest c0de)"),
        ({"code": "x", "commit": "b" * 40}, "Fix: git -C /checkout fetch && git -C /checkout "),
        ({"code": "x", "commit": ""}, "Fix: rsync -a"),
        ({"lock": "other"}, "expected the pins of this session in backends/torch_cpu/req"),
        ({"python": "3.12.1"}, "expected Python 3.11.7 as in this session, found 3.12.1"),
        ({"python": "3.11.9"}, ""),
        ({"packages": {"numpy": "2.0"}}, "found numpy 2.0 in place of 2.4.6. Fix: nox -s"),
        ({"packages": {}}, "found numpy absent in place of 2.4.6"),
    ],
)  # fmt: skip
def test_a_node_that_differs_is_refused_with_the_fix(
    changes: dict[str, object], message: str
) -> None:
    node = dataclasses.replace(FACTS, **changes)  # type: ignore[arg-type]
    found = facts.difference(FACTS, node, "torch-cpu")
    assert message in found
    assert bool(found) == bool(message)


def test_a_node_with_another_processor_is_refused() -> None:
    assert facts.other_processor(FACTS, FACTS) == ""
    xeon = dataclasses.replace(
        FACTS, processor=("Linux", "x86_64", "", "model name : Xeon", "", "")
    )
    assert "EPYC as on here, found Xeon. Fix: " in facts.other_processor(FACTS, xeon)
    newer = (*FACTS.processor[:4], "flags\t\t: sse avx avx512f", "")
    found = facts.other_processor(FACTS, dataclasses.replace(FACTS, processor=newer))
    assert "it with other instruction sets (avx512f)" in found


# --- Pools that go on -----------------------------------------------------------------------------


def test_a_pool_takes_further_tasks() -> None:
    with Pool(lambda _, ending: ending.value, WorkerSettings(workers=1)) as pool:
        assert pool.start([], more=True) == []
        for number in range(2):
            task = Task("isolation_targets:echo", number, str(number))
            assert pool.add([task])[0].result(timeout=60) == number


def test_threads_are_shared_with_other_nodes_of_the_machine() -> None:
    settings = WorkerSettings(workers=1, beside=cores())
    assert settings._share == 1


# --- Sessions -------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    made = Workplace(tmp_path)
    made.write(vision=" ".join(f"v{n}" for n in range(8)), structured="s0 s1 s2 s3")
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\nexec {sys.executable} {ROOT}/tests/cluster_bridge.py\n")
    wrapper.chmod(0o755)
    return made


def environment(place: Workplace, **plan: object) -> dict[str, Any]:
    return {engine.PYTHON: str(place.folder / "python"), "PLAN": json.dumps(plan)}


def run(place: Workplace, *arguments: str, backend: str = "good", **plan: object) -> str:
    changes = environment(place, **plan)
    done = place.run(backend, "--cluster", "fake:1", *arguments, **changes)
    return f"{done.stdout}\nexit status {done.returncode}"


def cells(place: Workplace, backend: str = "good") -> Counter[tuple[str, str]]:
    """How many rows of the only run each cell has, with its outcome."""
    with duckdb.connect(str(place.results / f"{backend}.duckdb"), read_only=True) as store:
        rows = store.execute("SELECT entry, outcome FROM cells").fetchall()
    return Counter((str(entry), str(outcome)) for entry, outcome in rows)


ALL = Counter((name, "pass") for name in [*(f"v{n}" for n in range(8)), "s0", "s1", "s2", "s3"])


def test_cells_run_on_nodes(place: Workplace) -> None:
    printed = run(place, nodes=2)
    assert "exit status 0" in printed, printed
    assert "cluster: 2 nodes of fake:1: node0 on " in printed
    assert "2 at once on all nodes" in printed
    assert cells(place) == ALL


def test_a_node_that_is_killed_costs_no_cell(place: Workplace) -> None:
    printed = run(place, nodes=2, kill={"0": 1})
    assert "exit status 0" in printed, printed
    assert "NOTE: a node was lost, node0 on " in printed
    assert "its agent ended with exit status -9" in printed
    assert "cells were handed to other nodes" in printed
    assert cells(place) == ALL


def test_an_answer_that_comes_twice_counts_once(place: Workplace) -> None:
    printed = run(place, nodes=2, twice=True)
    assert "exit status 0" in printed, printed
    assert "12 cells passed" in printed or "12 of 12 cells passed" in printed
    assert cells(place) == ALL


def test_faults_of_cells_are_those_of_the_local_pool(place: Workplace) -> None:
    place.write(vision="segfault drift right raises", structured="")
    local = place.run("faulty")
    assert local.returncode == 1, local.stdout
    before = cells(place, "faulty")
    assert before["segfault", "crash"] == 1
    (place.results / "faulty.duckdb").unlink()
    printed = run(place, backend="faulty", nodes=2)
    assert "exit status 1" in printed, printed
    assert cells(place, "faulty") == before


def test_wrong_nodes_get_no_cell(place: Workplace) -> None:
    other = {"1": {"code": "x"}, "2": {"lock": "x"}, "3": {"processor": ["Linux", "arm64"]}}
    printed = run(place, nodes=4, other=other)
    assert "exit status 0" in printed, printed
    assert "cluster: 1 node of fake:1: node0 on " in printed
    for number, message in (
        (1, "expected the code of this session"),
        (2, "expected the pins of this session"),
        (3, "expected processors of one kind in a run"),
    ):
        assert f"cluster: refused node{number} on " in printed
        assert message in printed
    assert printed.count("Fix: ") >= 3
    assert cells(place) == ALL


def test_a_cluster_of_wrong_nodes_alone_ends_with_their_reasons(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"0": {"code": "x"}, "1": {"lock": "x"}}
    changes = environment(place, nodes=2, other=other)
    done = place.run("good", "--cluster", "local:2", **changes)
    assert done.returncode == 4
    assert "expected a node of local:2 that serves this session, found 2 that cannot be used" in (
        done.stdout
    )
    assert "expected the code of this session" in done.stdout
    assert "expected the pins of this session" in done.stdout


def test_a_missing_device_is_absent(place: Workplace) -> None:
    changes = environment(place, nodes=1)
    done = place.run("unavailable", "--cluster", "local:1", **changes)
    assert "skipped" in done.stdout, done.stdout
    done = place.run("unavailable", "--cluster", "local:1", "--require-device", **changes)
    assert done.returncode == 1
    assert "--require-device: " in done.stdout


def test_a_lost_scheduler_ends_the_run_and_keeps_what_is_stored(place: Workplace) -> None:
    printed = run(place, nodes=2, fail=["expected the scheduler to go on. Fix: start it", 4])
    assert "exit status 1" in printed, printed
    assert "expected the scheduler to go on. Fix: start it" in printed
    stored = cells(place)
    assert 4 <= stored.total() < 12
    printed = run(place, "--changed", nodes=2)
    assert "exit status 0" in printed, printed


def test_a_bridge_that_ends_is_told(place: Workplace) -> None:
    (place.folder / "python").write_text("#!/bin/sh\necho broken engine >&2; exit 3\n")
    printed = run(place)
    assert "exit status 4" in printed, printed
    assert "found that it ended with exit status 3" in printed
    assert "broken engine" in printed


def test_ctrl_c_ends_all_agents(place: Workplace) -> None:
    mark = "HARNESS_TEST_CTRL_C"
    place.write(vision=" ".join(f"v{n}" for n in range(8)), structured="")
    command = place.command("good", "--cluster", "fake:1", "-v", "--fault", "slow=v3")
    changes = environment(place, nodes=2) | {mark: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        command, cwd=ROOT, env=place.environment(**changes), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None
    first = next((line for line in run.stdout if "PASSED" in line), "")
    assert first
    assert marked(mark)
    os.killpg(run.pid, signal.SIGINT)
    printed = run.communicate(timeout=60)[0]
    assert run.returncode == 130, printed
    assert "of the 8 selected cells were not run" in printed
    assert cells(place)["v0", "pass"] == 1
    assert marked(mark) == []


def marked(mark: str) -> list[psutil.Process]:
    """Processes with a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    "beside",
    [("--measure",), ("--localise",), ("--weights", "pretrained"), ("--with", "numpy==2.4.6")],
)
def test_options_of_this_machine_are_refused(place: Workplace, beside: tuple[str, ...]) -> None:
    printed = run(place, *beside)
    assert "exit status 4" in printed
    assert "expected --cluster or --" in printed


# --- Nodes ----------------------------------------------------------------------------------------


def relay(**changes: object) -> Relay:
    session = {
        "root": str(ROOT), "python": sys.executable, "name": "mock", "package": "harness",
        "installed": False, "fallback": "", "variables": {}, "agent": "{}",
    }  # fmt: skip
    return Relay({**session, **changes}, lambda lines: None)


def test_a_node_without_a_checkout_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotServed, match=r"expected a checkout .* Fix: .*HARNESS_CHECKOUT=DIR"):
        relay(root=str(tmp_path)).run()


def test_a_python_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(NotServed, match="expected HARNESS_PYTHON of the worker to name a Python"):
        relay().run()


def test_an_environment_is_made_from_the_lock_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nox is a fake here, which says what it was asked and makes the file."""
    (tmp_path / "harness").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python").touch()
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    (tools / "nox").write_text(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > asked\n"
        "mkdir -p .nox/mock/bin; : > .nox/mock/bin/python\n"
    )
    (tools / "nox").chmod(0o755)
    monkeypatch.setenv("HARNESS_CHECKOUT", str(tmp_path))
    python, root = relay()._python()
    assert (python, root) == (tmp_path / ".nox" / "mock" / "bin" / "python", tmp_path)
    asked = (tmp_path / "asked").read_text("utf-8").split()
    assert asked[:3] == ["-s", "mock", "--install-only"]
    (tools / "nox").write_text("#!/bin/sh\necho no wheels; exit 1\n")
    with pytest.raises(NotServed, match=r"(?s)found exit status 1\. Fix: .*no wheels"):
        relay()._python()


def test_an_agent_that_does_not_start_is_told() -> None:
    reason = relay(package="no_such_package", installed=True).run()
    assert "its agent ended with exit status 1" in reason
    assert "no_such_package" in reason


def test_no_engine_names_the_session_that_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engine.PYTHON, raising=False)
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match=r"expected dask\.distributed for --cluster, found none"):
        engine.engine_python()
