"""Sessions with checkpoints from a small hub on loopback, and the feed that downloads them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from fakes.small_hub import SmallHub, SmallRepository, small_hub
from huggingface_hub import constants
from workplace import FAKES, ROOT, Workplace

from harness.catalog import model_lists, policy
from harness.catalog.hub import download
from harness.catalog.hub import repository as repositories
from harness.catalog.hub.errors import HubUnreachable
from harness.catalog.hub.repository import Repository
from harness.contract import CHECKPOINT_SIZE, Cell, Entry, HarnessError
from harness.results.checkpoints_done import cells_done
from harness.session import checkpoint_plan
from harness.session.checkpoint_feed import CheckpointFeed
from harness.session.checkpoint_plan import Planned
from harness.session.cost import Cost
from harness.session.pretrained import BESIDE, Pretrained, pretrained_of
from harness.session.summary import Selection, summarise

#: Entry -> bytes of its weights; `small` comes last in the list, and first in the session.
SIZES = {"large": 9000, "middle": 5000, "small": 1000}


def repository(size: int, **faults: Any) -> SmallRepository:
    files = {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(size)}
    return SmallRepository(files, **faults)


@pytest.fixture
def hub() -> Iterator[SmallHub]:
    with small_hub({f"x/{name}": repository(size) for name, size in SIZES.items()}) as found:
        yield found


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    workplace.lists.mkdir()
    tables = [
        f'[{name}]\narchitecture = "{name}"\ncheckpoint = "x/{name}"\npriority = "critical"\n'
        for name in SIZES
    ]
    (workplace.lists / "vision.toml").write_text("\n".join(tables), encoding="utf-8")
    return workplace


def variables(hub: SmallHub, place: Workplace) -> dict[str, str]:
    home = {"HF_HOME": str(place.folder / "home"), "HF_ENDPOINT": hub.endpoint}
    return {**home, "HF_HUB_OFFLINE": "", "HF_TOKEN": "", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}


def run(hub: SmallHub, place: Workplace, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = ("-v", "--weights", "pretrained", *arguments)
    return place.run("good", *given, backends=FAKES, **variables(hub, place))


def passed(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if " PASSED" in line]
    return [line.split("::")[1].split("[")[0] for line in lines]


def lock_digests(results: Path) -> set[str]:
    with duckdb.connect(str(results), read_only=True) as connection:
        return {row[0] for row in connection.execute("SELECT lock_sha256 FROM runs").fetchall()}


def cached(place: Workplace) -> list[str]:
    folders = (place.folder / "home" / "hub").glob("models--x--*")
    return sorted(folder.name.removeprefix("models--x--") for folder in folders)


def test_a_policy_goes_on_where_it_was_interrupted(hub: SmallHub, place: Workplace) -> None:
    hub.repositories["x/middle"].faults["model.safetensors"] = "slow"
    command = place.command("good", "-v", "--weights", "pretrained", "--policy")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=place.environment(**variables(hub, place)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = ""
    while "::small[good-default] PASSED" not in seen:  # whose line has no end yet
        character = process.stdout.read(1)
        assert character, seen
        seen += character
    assert hub.halfway.wait(60)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, set(place.cells("good"))) == (130, {"small"}), output
    assert list((place.folder / "home").rglob("*.incomplete")) == []
    assert not list((place.folder / "home").rglob("models--x--middle/snapshots/*/model*"))

    hub.repositories["x/middle"].faults.clear()
    done = run(hub, place, "--policy")
    assert "1 entries of the policy have run before with these pins" in done.stdout
    assert (done.returncode, passed(done.stdout)) == (0, ["middle", "large"]), done.stdout
    everything = {(name, "base", "default") for name in SIZES}
    results = place.results / "good.duckdb"
    (pins,) = lock_digests(results)
    assert set(cells_done(results, pins)) == everything
    assert set(cells_done(results, "of other pins")) == set()


def test_what_cannot_be_had_is_untested_and_the_rest_runs(hub: SmallHub, place: Workplace) -> None:
    hub.repositories["x/small"].gated = True
    del hub.repositories["x/middle"]
    done = run(hub, place, "--remove-downloads")
    assert passed(done.stdout) == ["large"], done.stdout
    assert "1 that cannot be had" in done.stdout
    cells = place.cells("good")
    assert {name: (c["outcome"], c["stage"]) for name, c in cells.items()} == {
        "small": ("untested", "build"),
        "middle": ("untested", "build"),
        "large": ("pass", "measure"),
    }
    assert "x/small, which is gated" in cells["small"]["reason"]
    assert "`hf auth login`" in cells["small"]["reason"]
    assert "correct `checkpoint`" in cells["middle"]["reason"]
    assert cached(place) in ([], ["small"])
    with duckdb.connect(str(place.results / "good.duckdb"), read_only=True) as connection:
        query = "SELECT entry FROM metrics WHERE name = ?"
        assert connection.execute(query, [CHECKPOINT_SIZE]).fetchall() == [("large",)]


def test_without_a_network_the_cache_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [entry("small", checkpoint="x/small")]
    others = [entry("large", checkpoint="x/large")]
    folder = tmp_path / "models--x--small" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (item,) = checkpoint_plan.plan(wanted, Pretrained(), tmp_path, 1000)
    assert item.repository is not None
    assert (item.size, item.repository.commit) == (2, "abc")
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE set"):
        checkpoint_plan.plan(others, Pretrained(), tmp_path, 1000)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(HubUnreachable, match=r"expected http://127\.0\.0\.1:9 to answer"):
        checkpoint_plan.plan(wanted, Pretrained(), tmp_path, 1000)


# ---- options


@pytest.mark.parametrize("name", BESIDE)
def test_an_option_of_checkpoints_needs_them(name: str) -> None:
    given: dict[str, Any] = {**dict.fromkeys(BESIDE), name: 1.0}
    assert pretrained_of(given, "pretrained", None) is not None
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(HarnessError, match=f"--weights pretrained beside {option}"):
        pretrained_of(given, "seeded", None)
    with pytest.raises(HarnessError, match="or --checkpoints, found both"):
        pretrained_of(given, "pretrained", Path())


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["disk", "time_budget"])
def test_a_limit_is_above_nothing(name: str, value: float) -> None:
    given: dict[str, Any] = {**dict.fromkeys(BESIDE), name: value}
    with pytest.raises(HarnessError, match="to be above 0"):
        pretrained_of(given, "pretrained", None)


# ---- the policy


def entry(name: str, priority: Any = "high", checkpoint: str = "x/y") -> Entry:
    return Entry(name, "vision", name, priority=priority, checkpoint=checkpoint)


def test_a_policy_that_is_done_says_so() -> None:
    done = [Cell(entry("a"), "good"), Cell(entry("a"), "good", head="x"), Cell(entry("b"), "good")]
    supply = SimpleNamespace(done_before=done)
    run: Any = SimpleNamespace(
        spec=SimpleNamespace(name="good"), results=[], absence=None, supply=supply
    )
    title, lines = summarise(run, Cost(0.0, 0.0), 0, "", Selection(0))
    assert title == "good: the policy is done: all 2 of its entries have run with these pins"
    assert len(lines) == 1
    assert re.search(r"`nox -s coverage` counts|`python -m [a-z_]+ coverage` counts", lines[0])


def test_the_policy_takes_its_share_whatever_the_order() -> None:
    entries = [
        *(entry(f"c{n}", "critical") for n in range(3)),
        *(entry(f"h{n}") for n in range(5)),
        *(entry(f"m{n}", "medium") for n in range(9)),
        *(entry(f"l{n}", "low") for n in range(9)),
        entry("none", "high", ""),
    ]
    names = [found.name for found in policy.chosen(entries)]
    assert [sum(name[0] == kind for name in names) for kind in "chml"] == [3, 3, 3, 0]
    assert "none" not in names
    assert {found.name for found in policy.chosen(entries[::-1])} == set(names)
    fewer = {found.name for found in policy.chosen([*entries, entry("another")])}
    assert len(set(names) - fewer) <= 1


def test_the_policy_of_the_lists_has_every_family_that_has_named_models() -> None:
    entries = list(model_lists.load().entries.values())
    found = policy.chosen(entries)
    assert {e.name for e in entries if e.priority == "critical"} <= {e.name for e in found}
    assert len({e.family for e in found}) >= 9


# ---- the feed


def planned(*sizes: int) -> list[Planned]:
    found = [Repository(f"x/{size}", "c", ()) for size in sizes]
    return [Planned(r.name, (f"e{size}",), r) for r, size in zip(found, sizes, strict=True)]


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repositories without files, of the size in their names."""
    size = property(lambda self: int(self.name.removeprefix("x/")))
    monkeypatch.setattr(Repository, "size", size)
    monkeypatch.setattr(Repository, "missing", lambda self, cache: [])


def feed_of(items: list[Planned], settings: Pretrained, clock: Any = lambda: 0.0) -> CheckpointFeed:
    return CheckpointFeed(items, settings, Path("/none"), clock)


@pytest.mark.usefixtures("sized")
def test_what_the_disk_may_not_hold_is_not_begun() -> None:
    held: list[str] = []
    feed = feed_of(planned(3, 4, 9), Pretrained(disk=8))
    feed.start(held.append)
    assert feed.wait("e4").size == 4
    assert "beyond the 0.0 MB of --disk; with --remove-downloads" in feed.wait("e9").problem
    assert held == ["e9"]
    feed.stop()


@pytest.mark.usefixtures("sized")
def test_what_is_removed_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr(download, "borrow", lambda *_: None)
    monkeypatch.setattr(download, "give_back", lambda found, _: removed.append(found.name))
    feed = feed_of(planned(3, 4, 6, 9), Pretrained(disk=8, remove=True))
    feed.start(lambda _: None)
    assert feed.wait("e4").commit
    assert feed.fetched("e6") is None
    feed.ended("e3")
    feed.ended("e4")
    assert feed.wait("e6").commit
    assert "beyond the" in feed.wait("e9").problem
    assert removed == ["x/3", "x/4"]
    feed.stop()


@pytest.mark.usefixtures("sized")
def test_no_checkpoint_is_begun_once_the_time_is_over() -> None:
    times = iter([0.0, 10.0, 60.0, 70.0])
    held: list[str] = []
    feed = feed_of(planned(1, 2, 3), Pretrained(seconds=60.0), lambda: next(times))
    feed.start(held.append)
    assert feed.wait("e3").problem == "the 1 minutes of --time-budget are over"
    assert (feed.wait("e1").problem, held) == ("", ["e2", "e3"])
    feed.stop()


@pytest.mark.usefixtures("sized")
def test_an_error_of_any_kind_costs_its_own_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def borrow(found: Repository, cache: Path) -> None:
        if found.name == "x/1":
            raise KeyError("etag")

    monkeypatch.setattr(download, "borrow", borrow)
    feed = feed_of(planned(1, 2), Pretrained(remove=True))
    feed.start(lambda _: None)
    assert feed.wait("e1").problem == "KeyError: 'etag'"
    assert feed.wait("e2").commit
    feed.stop()


def test_a_model_that_memory_cannot_hold_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Repository("x/large", "c", (), parameters=7_000_000_000)
    monkeypatch.setattr(repositories, "look_up", lambda *_, **__: found)
    monkeypatch.setattr(checkpoint_plan, "_offline", lambda: False)
    (item,) = checkpoint_plan.plan([entry("large")], Pretrained(), Path(), 20_000)
    assert item.too_large
    assert "its 7000 million parameters in float32, and a reference" in item.problem
    needed = int(item.problem.partition("--memory ")[2].partition(" ")[0])
    assert 56_000 < needed < 58_000
    (item,) = checkpoint_plan.plan([entry("large")], Pretrained(), Path(), needed)
    assert item.problem == ""
