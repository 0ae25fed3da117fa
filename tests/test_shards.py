"""Shards: parts that lose no entry whatever the machines know, and take about as long by a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from workplace import FAKES, Workplace

from harness.__main__ import main
from harness.catalog.chosen_lists import chosen
from harness.contract import CellResult, Entry, HarnessError, Outcome, RunInfo
from harness.results.store import Store
from harness.session import durations_file
from harness.session.header import shard_line
from harness.session.options import Options
from harness.session.run import Run
from harness.session.shards import parts


def entries(count: int) -> list[Entry]:
    return [Entry(f"m{n}", ("vision", "audio")[n % 2], f"m{n}") for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_hold_each_entry_once(count: int) -> None:
    chance = random.Random(count)
    given = entries(17)
    for known in (0, 1, 9, 17):
        seconds = {e.name: chance.expovariate(1.0) for e in chance.sample(given, known)}
        found = parts(given, seconds, count)
        assert len(found) == count
        assert sorted(name for part in found for name in part) == sorted(e.name for e in given)


def test_without_durations_each_part_has_every_nth() -> None:
    assert parts(entries(5), {}, 2) == [["m0", "m2", "m4"], ["m1", "m3"]]


def test_equal_durations_are_counted_evenly() -> None:
    assert list(map(len, parts(entries(10), {f"m{n}": 0.0 for n in range(10)}, 3))) == [4, 3, 3]


def test_parts_take_about_as_long() -> None:
    seconds = {f"m{n}": 1.0 for n in range(20)} | {"m0": 10.0, "m2": 10.0}
    by_count = [sum(seconds[n] for n in part) for part in parts(entries(20), {}, 2)]
    found = [sum(seconds[n] for n in part) for part in parts(entries(20), seconds, 2)]
    assert by_count == [28.0, 10.0]
    assert found == [19.0, 19.0]


def test_a_new_entry_takes_the_median_of_its_family() -> None:
    seconds = {"m0": 8.0, "m2": 8.0, "m1": 1.0, "m3": 1.0}
    found = parts(entries(6), seconds, 3)  # m4 is new among the vision models, m5 among the audio
    assert [sum(name in ("m0", "m2", "m4") for name in part) for part in found] == [1, 1, 1]


def shards(workplace: Workplace, count: int, file: Path | None) -> list[Run]:
    lists = chosen(str(workplace.lists))
    return [
        Run(
            Options(
                "good",
                backends=FAKES,
                lists=lists,
                results=workplace.results / str(number),
                shard=(number, count),
                durations=file,
            )
        )
        for number in range(1, count + 1)
    ]


def test_machines_with_different_histories_split_alike(
    workplace: Workplace,
    make_result: Callable[..., CellResult],
    make_run: Callable[..., RunInfo],
    tmp_path: Path,
) -> None:
    names = [f"m{n}" for n in range(10)]
    workplace.write(vision=" ".join(names))
    for number in (1, 3):  # the second machine has no history
        (workplace.results / str(number)).mkdir(parents=True)
        with Store.open(workplace.results / str(number) / "good.duckdb") as store:
            store.begin(make_run())
            for place, name in enumerate(names):
                store.add("r1", make_result(name, seconds=float(place * number)))
    file = tmp_path / "durations.toml"
    lines = [f"{name} = {30.0 if name == 'm3' else 1.0}" for name in names[:8]]
    file.write_text("\n".join(["[good.default]", *lines]), encoding="utf-8")
    for given in (None, file):
        found = [run.chosen.of_shard for run in shards(workplace, 3, given)]
        assert sorted(name for part in found for name in part) == names
    assert {"m3"} in found
    said = [shard_line(run) for run in shards(workplace, 3, file)]
    assert said[0].startswith("shard: 1/3, ")
    assert len({line.split("split by ")[1] for line in said}) == 1
    assert shard_line(shards(workplace, 3, None)[0]).endswith("4 of 10 entries, split by count")


def test_only_cells_that_run_count(workplace: Workplace, tmp_path: Path) -> None:
    workplace.write(vision="a b c d")
    file = tmp_path / "durations.toml"
    text = (
        "[good.default]\na = 1\nb = 1\nc = 1\nd = 1\n[good.f16]\na = 99\n[other.default]\nb = 99\n"
    )
    file.write_text(text, encoding="utf-8")
    assert [len(run.chosen.of_shard) for run in shards(workplace, 2, file)] == [2, 2]


def test_a_file_without_the_backend_splits_by_count(workplace: Workplace, tmp_path: Path) -> None:
    workplace.write(vision="a b c")
    file = tmp_path / "durations.toml"
    file.write_text("[other.default]\na = 99.0\n", encoding="utf-8")
    one, two = shards(workplace, 2, file)
    assert sorted(one.chosen.of_shard) == ["a", "c"]
    assert sorted(two.chosen.of_shard) == ["b"]
    assert shard_line(one).endswith("durations.toml holds no durations of good")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a readable UTF-8 file"),
        ("x", "expected TOML"),
        ("good = 3", "expected tables only, found the bare key `good`"),
        ("[good]\ndefault = 1", "a table"),
        ("[good.default]\nbert = 'long'", "a number"),
        ("[good.default]\nbert = -1.0", "expected seconds of at least 0, found -1.0"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    """A shard that went on by count would lose the entries that the others leave to it."""
    path = tmp_path / "durations.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError) as caught:
        durations_file.read(path, "good")
    assert message in str(caught.value)
    assert "Fix: " in str(caught.value)


def test_the_command_writes_what_the_option_reads(
    tmp_path: Path,
    make_result: Callable[..., CellResult],
    make_run: Callable[..., RunInfo],
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "results"
    assert main(["durations", "--results", str(results)]) == 2
    results.mkdir()
    with Store.open(results / "good.duckdb") as store:
        store.begin(make_run())
        store.add("r1", make_result("bert", seconds=1.2345))
        store.add("r1", make_result("bert", head="fill-mask", seconds=0.5))
        store.add("r1", make_result("gpt2", family="decoder-only", outcome=Outcome.ABSENT))
        store.finish("r1")
    file = tmp_path / "durations.toml"
    assert main(["durations", "--results", str(results), "--output", str(file)]) == 0
    assert "2 cells of 1 backends" in capsys.readouterr().out
    found = durations_file.read(file, "good")
    assert found.seconds == {
        ("bert", "base", "default"): 1.2,
        ("bert", "fill-mask", "default"): 0.5,
    }
    missing = tmp_path / "nowhere" / "durations.toml"
    assert main(["durations", "--results", str(results), "--output", str(missing)]) == 2
