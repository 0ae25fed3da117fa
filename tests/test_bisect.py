"""`python -m harness bisect`: the search, and bisections over environments that are made up."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.version import Version

from harness import __main__ as command_line
from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.contract import CellFailure, CellResult, HarnessError, Outcome, RunInfo, Stage
from harness.environments import locks, releases, session, swapped
from harness.environments.pins import without
from harness.environments.search import Answer, Boundary, Standing, bisect
from harness.environments.session import NoResults, SeenCell, SeenFailure
from harness.environments.swapped import NotInstalled
from harness.results.store import Store

PASSES = SeenCell("pass")


def fails(cause: str = "wrong", outcome: str = "fail", stage: str = "verify") -> SeenCell:
    return SeenCell(outcome, (SeenFailure(stage, outcome, cause, f"it is {cause}"),))


# ---- the search


def searched(row: str, attempts: int = 3) -> tuple[Boundary, list[int]]:
    """A search over `g` good, `b` bad, `s` skipped; `w` fails each third time only."""
    asked: list[int] = []
    tries = [0] * len(row)

    def ask(number: int, times: int) -> Answer:
        asked.append(number)
        letter = row[number]
        if letter != "w":
            kind = {"g": Standing.GOOD, "b": Standing.BAD, "s": Standing.SKIPPED}[letter]
            return Answer(kind, attempts=times)
        for n in range(1, times + 1):
            tries[number] += 1
            if tries[number] % 3 == 0:
                return Answer(Standing.BAD, attempts=n, wavers=True)
        return Answer(Standing.GOOD, attempts=times)

    ends = {0: Answer(Standing.GOOD), len(row) - 1: Answer(Standing.BAD, wavers="w" in row)}
    return bisect(len(row), ends, ask, attempts), asked


@pytest.mark.parametrize("count", range(2, 40))
def test_every_boundary_is_found_in_few_questions(count: int) -> None:
    for first in range(1, count):
        found, asked = searched("g" * first + "b" * (count - first))
        assert (found.good, found.bad, found.certain) == (first - 1, first, True)
        assert len(asked) <= (count - 1).bit_length()
        assert len(set(asked)) == len(asked)


@pytest.mark.parametrize(
    ("row", "good", "bad"),
    [("gsb", 0, 2), ("ggssbb", 1, 4), ("gssssssb", 0, 7), ("gsgsbsb", 2, 4), ("gsgbsb", 2, 3)],
)
def test_what_cannot_be_judged_is_passed_over(row: str, good: int, bad: int) -> None:
    found, _ = searched(row)
    assert (found.good, found.bad) == (good, bad)
    assert found.certain is (bad == good + 1)


@pytest.mark.parametrize("row", ["ggggwwwb", "gwwwwwwb", "ggggggwb"])
def test_one_good_answer_of_a_cell_that_wavers_proves_nothing(row: str) -> None:
    found, _ = searched(row)
    assert (found.good, found.bad) == (row.index("w") - 1, row.index("w"))
    once, _ = searched(row, attempts=1)
    assert once.bad > found.bad  # as it would be, asked once


def test_a_good_end_that_wavers_is_no_end() -> None:
    with pytest.raises(HarnessError, match="expected the good end to be good each time"):
        searched("wwwwb")


# ---- releases and lock files


def listed(*versions: str) -> list[Version]:
    return sorted(map(Version, versions))


def test_releases_lie_between_the_ends_in_either_order() -> None:
    known = listed("5.0", "5.1", "5.2rc1", "5.2", "5.3", "5.3+cpu", "6.0")
    ends = Version("5.1"), Version("5.3")

    def row(good: Version, bad: Version, *, pre: bool = False) -> list[str]:
        return [str(version) for version in releases.between(known, good, bad, pre=pre)]

    assert row(*ends) == ["5.1", "5.2", "5.3"]
    assert row(*reversed(ends)) == ["5.3", "5.2", "5.1"]
    assert row(*ends, pre=True) == ["5.1", "5.2rc1", "5.2", "5.3"]
    assert row(Version("5.0.9"), ends[0]) == ["5.0.9", "5.1"]  # of a folder of wheels, say


def test_releases_are_those_that_pip_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(command)
        return "thing (1.10)\nAvailable versions: 1.10, 1.9, 1.9rc1\n  INSTALLED: 1.9\n"

    monkeypatch.setattr(swapped, "run_uv", run)
    assert [str(version) for version in releases.releases("thing")] == ["1.9rc1", "1.9", "1.10"]
    releases.releases("thing", pre=True)
    assert ["--pre" in command for command in commands] == [False, True]
    monkeypatch.setattr(swapped, "run_uv", lambda _: "ERROR\n")
    with pytest.raises(HarnessError, match="expected releases of thing, found none"):
        releases.releases("thing")

    def fails_to_run(command: Sequence[str]) -> str:
        raise NotInstalled("`uv tool run`", "no network.")

    monkeypatch.setattr(swapped, "run_uv", fails_to_run)
    with pytest.raises(HarnessError, match=r"releases of thing, found that .* no network"):
        releases.releases("thing")


GOOD_LOCK = "# made\nnumpy==2.0\n    # via x\ntorch==2.9 ; sys_platform != 'none'\nold_one==1.0\n"
BAD_LOCK = "Torch==2.11 ; sys_platform != 'none'\nnumpy==2.0\nnew[extra]==3.0\n"


def test_lock_files_differ_and_mix_by_package() -> None:
    changes = locks.changed(GOOD_LOCK, BAD_LOCK)
    assert [str(change) for change in changes] == [
        "new absent -> 3.0",
        "old-one 1.0 -> absent",
        "torch 2.9 -> 2.11",
    ]
    assert locks.mixed(GOOD_LOCK, BAD_LOCK, ["new", "old-one"]) == (
        "new[extra]==3.0\nnumpy==2.0\ntorch==2.9 ; sys_platform != 'none'\n"
    )
    everything = locks.mixed(GOOD_LOCK, BAD_LOCK, [change.package for change in changes])
    assert locks.versions(everything) == locks.versions(BAD_LOCK)
    two = "scipy==1.17 ; python_version < '3.12'\nscipy==1.18 ; python_version >= '3.12'\n"
    assert locks.versions(f"{two}gone==1 ; sys_platform == 'none'") == {"scipy": "1.17"}


def test_packages_of_the_projects_own_folders_stay() -> None:
    own = "-e ./backends/_shared/torchvision_schemas\n"
    mixed = locks.mixed(f"{own}    # via -r requirements.in\nnumpy==1\n", "numpy==2\n", ["numpy"])
    assert mixed == f"{own}numpy==2\n"


VIA_GOOD = """\
hub==1.0
    # via
    #   tokenizers
    #   transformers
numpy==1.0
    # via -r requirements.in
tokenizers==0.1
    # via transformers
transformers==5.0.0
    # via -r requirements.in
"""
VIA_BAD = VIA_GOOD.replace("1.0", "2.0").replace("5.0.0", "5.9.0").replace("0.1", "0.2")


def test_packages_that_need_each_other_change_together() -> None:
    found = locks.groups(VIA_GOOD, VIA_BAD)
    assert [[change.package for change in group] for group in found] == [
        ["hub", "tokenizers", "transformers"], ["numpy"],
    ]  # fmt: skip
    assert [str(root) for root in locks.roots(found[0], VIA_GOOD, VIA_BAD)] == [
        "transformers 5.0.0 -> 5.9.0"
    ]
    bare = "".join(line for line in VIA_GOOD.splitlines(True) if "#" not in line)
    assert len(locks.groups(bare, VIA_BAD)) == 2  # one file with comments is enough
    assert len(locks.groups(GOOD_LOCK, BAD_LOCK)) == 3


def test_requirements_are_asked_for_in_any_version() -> None:
    told = "# why\na[x,y]==1.0  # newest\nb\nc>=2; python_version < '3.12'\n-r other.in\n"
    assert locks.loosened(told) == "a[x,y]\nb\nc ; python_version < '3.12'\n"


# ---- whole bisections


@dataclass
class World:
    """Packages with releases, and what a cell does with each; stands in for uv and sessions.

    Attributes:
        result: the result of the cell, from the versions of an environment.
        broken: versions that cannot be installed.
        asked: the versions that ran, in their order, as `thing 1.2`.
    """

    folder: Path
    result: Callable[[Mapping[str, str]], SeenCell | None]
    known: tuple[str, ...] = tuple(f"5.{minor}.0" for minor in range(10))
    broken: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    options: list[Sequence[str]] = field(default_factory=list)

    def made(self, name: str, pins: str) -> Path:
        if broken := self.broken & set(locks.versions(pins).values()):
            raise NotInstalled("uv", f"no wheel of {min(broken)}")
        environment = self.folder / name
        (environment / "bin").mkdir(parents=True, exist_ok=True)
        (environment / swapped.STAMP).write_text(pins, encoding="utf-8")
        return environment / "bin" / "python"

    def interpreter(self, spec: object, package: str, version: str) -> Path:
        other = "helper==2.0\n" if Version(version) >= Version("5.6.0") else "helper==1.0\n"
        return self.made(f"{package}-{version}", f"{package}=={version}\n{other}")

    def interpreter_of(self, spec: object, pins: str) -> Path:
        return self.made(" ".join(locks.pins(pins).values()), pins)

    def interpreter_near(self, spec: object, package: str, version: str, pins: str) -> Path:
        return self.interpreter_of(spec, f"{without(pins, package)}{package}=={version}\n")

    def cell_in(self, python: Path, spec: object, *cell: object) -> SeenCell:
        pins = locks.versions(swapped.pins_of(python))
        self.asked.append(" ".join(f"{name} {version}" for name, version in pins.items()))
        self.options.append(cell)  # type: ignore[arg-type]
        found = self.result(pins)
        if found is None:
            raise NoResults("no module named thing")
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, lambda pins: PASSES)
    monkeypatch.setattr(swapped, "check_uv", lambda: None)
    monkeypatch.setattr(swapped, "interpreter", made.interpreter)
    monkeypatch.setattr(swapped, "interpreter_of", made.interpreter_of)
    monkeypatch.setattr(swapped, "interpreter_near", made.interpreter_near)
    monkeypatch.setattr(session, "cell_in", made.cell_in)
    monkeypatch.setattr(
        "harness.environments.findings.releases",
        lambda package, pre=False: list(map(Version, made.known)),
    )
    return made


def since(version: str, bad: SeenCell | None = None) -> Callable[[Mapping[str, str]], SeenCell]:
    """The cell fails from a version of transformers on."""

    def result(pins: Mapping[str, str]) -> SeenCell:
        at_least = Version(pins["transformers"]) >= Version(version)
        return (bad or fails()) if at_least else PASSES

    return result


def run(good: str, bad: str, *options: str, entry: str = "bert") -> int:
    words = ["bisect", entry, "--backend", "torch-cpu", "--good", good, "--bad", bad]
    return command_line.main([*words, *options])


Captured = pytest.CaptureFixture[str]


def test_the_first_bad_version_is_named(world: World, capsys: Captured) -> None:
    world.result = since("5.6.0")
    assert run("5.0.0", "5.9.0") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["asked", "verdict", "result"]
    assert lines[1].split() == ["transformers", "5.0.0", "good", "pass"]
    assert lines[-2] == "changed with it: helper 1.0 -> 2.0"
    assert lines[-1] == "transformers 5.6.0 is the first bad version, 5.5.0 the last good"
    assert len(world.asked) <= 6
    assert "transformers 5.9.0: fail at verify: it is wrong" in err
    assert world.options[0][:3] == ("bert", "base", "default")


def test_the_first_good_version_is_named_where_a_fix_is_looked_for(
    world: World, capsys: Captured
) -> None:
    world.result = lambda pins: PASSES if since("5.4.0")(pins) != PASSES else fails()
    assert run("5.9.0", "5.0.0") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "transformers 5.4.0 is the first good version, 5.3.0 the last bad"


def test_what_cannot_be_installed_or_run_is_passed_over(world: World, capsys: Captured) -> None:
    world.broken = frozenset({"5.5.0"})
    bad = since("5.4.0")
    world.result = lambda pins: None if "5.4.0" in pins.values() else bad(pins)
    assert run("5.0.0", "5.9.0") == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "the change came with one of 5.4.0, 5.5.0, 5.6.0"
    assert "no wheel of 5.5.0" in out
    assert "no module named thing" in out


def test_another_failure_is_passed_over_unless_any_counts(world: World, capsys: Captured) -> None:
    both = since("5.8.0")

    def result(pins: Mapping[str, str]) -> SeenCell:
        worse = both(pins)
        other = since("5.5.0", fails("another", "untested", "build"))(pins)
        return worse if worse != PASSES else other

    world.result = result
    assert run("5.0.0", "5.9.0") == 1
    assert "one of 5.5.0, 5.6.0, 5.7.0, 5.8.0" in capsys.readouterr().out
    assert run("5.0.0", "5.9.0", "--any-failure") == 0
    assert "transformers 5.5.0 is the first bad version" in capsys.readouterr().out


def test_a_known_failure_of_the_good_end_is_good(world: World, capsys: Captured) -> None:
    def result(pins: Mapping[str, str]) -> SeenCell:
        known = fails("known")
        if since("5.7.0")(pins) == PASSES:
            return known
        return SeenCell("fail", (*known.failures, *fails("new").failures))

    world.result = result
    assert run("5.0.0", "5.9.0") == 0
    assert "transformers 5.7.0 is the first bad version" in capsys.readouterr().out


def test_a_cell_that_wavers_is_asked_again(world: World, capsys: Captured) -> None:
    turns: dict[str, int] = {}

    def result(pins: Mapping[str, str]) -> SeenCell:
        version = pins["transformers"]
        if Version(version) < Version("5.3.0"):
            return PASSES
        turns[version] = turns.get(version, 0) + 1
        return fails() if turns[version] % 3 == 0 else PASSES

    world.result = result
    assert run("5.0.0", "5.9.0", "--attempts", "3") == 0
    out = capsys.readouterr().out
    assert "transformers 5.3.0 is the first bad version, 5.2.0 the last good" in out
    assert "bad (wavers, asked 3 times)" in out
    repeats = {" ".join(map(str, cell[3])) for cell in world.options}
    assert repeats == {"--repeat 2"}


def test_json_has_all_that_was_asked(world: World, capsys: Captured) -> None:
    world.result = since("5.1.0")
    assert run("5.0.0", "5.2.0", "--json", "--pre") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["package"], found["good"], found["bad"]) == ("transformers", "5.0.0", "5.1.0")
    assert [asked["judged"] for asked in found["asked"]] == ["good", "bad", "bad"]
    assert found["certain"] is True


def test_two_lock_files_give_the_package_and_its_version(
    world: World, capsys: Captured, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("accelerate==1.0\ntransformers==5.0.0\nzstandard==1.0\n")
    bad.write_text("accelerate==2.0\ntransformers==5.9.0\nzstandard==3.0\n")
    world.result = since("5.6.0")
    assert run(str(good), str(bad)) == 0
    out = capsys.readouterr().out
    assert "then transformers 5.0.0 -> 5.9.0" in out
    assert out.splitlines()[-1].startswith("transformers 5.6.0 is the first bad version")
    assert "take part" not in out
    of_versions = {asked for asked in world.asked if "transformers 5.6.0" in asked}
    assert of_versions == {"accelerate 2.0 zstandard 1.0 transformers 5.6.0"}


def test_packages_that_only_fail_together_are_all_named(
    world: World, capsys: Captured, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text(VIA_GOOD)
    bad.write_text(VIA_BAD)
    world.result = lambda pins: since("5.6.0")(pins) if pins["hub"] == "2.0" else PASSES
    assert run(str(good), str(bad)) == 1  # uv keeps the hub, as far as this world goes
    last = capsys.readouterr().out.splitlines()[-1]
    assert "one of hub 1.0 -> 2.0, tokenizers 0.1 -> 0.2, transformers 5.0.0 -> 5.9.0" in last
    world.result = since("5.6.0")
    assert run(str(good), str(bad)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "transformers 5.6.0 is the first bad version, 5.5.0 the last good"


def test_a_package_that_needs_another_one_is_told(
    world: World, capsys: Captured, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("accelerate==1.0\ntransformers==5.0.0\n")
    bad.write_text("accelerate==2.0\ntransformers==5.9.0\n")
    world.result = lambda pins: since("5.6.0")(pins) if pins["accelerate"] == "2.0" else PASSES
    assert run(str(good), str(bad)) == 0
    out = capsys.readouterr().out
    assert "that package alone does not change the result: those before it take part" in out
    assert "transformers 5.6.0 is the first bad version" in out


def test_a_package_that_came_or_went_has_no_versions(
    world: World, capsys: Captured, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("transformers==5.0.0\n")
    bad.write_text("flash==2.0\ntransformers==5.0.0\n")
    world.result = lambda pins: fails() if "flash" in pins else PASSES
    assert run(str(good), str(bad)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "flash absent -> 2.0 changed the result"


@pytest.mark.parametrize(
    ("good", "bad", "options", "said"),
    [
        ("5.0.0", "5.9.0", (), "expected a failure in transformers 5.9.0 that"),
        ("newest", "5.9.0", (), "expected --good to be a version, as 5.12.0"),
        ("5.0.0", "5.9.0", ("--package", "transformer"), "Did you mean `transformers`?"),
        ("5.0.0", "5.9.0", ("--attempts", "0"), "expected --attempts"),
        ("5.0.0", str(Path(__file__)), (), "expected two versions or two files of pins"),
        (str(Path(__file__)), str(Path(__file__)), (), "expected other pins in"),
    ],
)
def test_ends_that_are_none(
    world: World, capsys: Captured, good: str, bad: str, options: tuple[str, ...], said: str
) -> None:
    assert run(good, bad, *options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "said"),
    [("brt", "Did you mean `bert`"), ("bert:fill-task", "expected a head of bert (base, ")],
)
def test_cells_that_are_none(world: World, capsys: Captured, entry: str, said: str) -> None:
    assert run("5.0.0", "5.9.0", entry=entry) == 2
    assert said in capsys.readouterr().err


def test_an_end_without_the_entry_is_none(world: World, capsys: Captured) -> None:
    world.result = lambda pins: fails("no such model", "absent", "build")
    assert run("5.0.0", "5.9.0") == 2
    assert "expected bert in transformers 5.0.0, found none" in capsys.readouterr().err


# ---- uv, and sessions in environments


def fake_uv(folder: Path, text: str) -> None:
    file = folder / "uv"
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def test_an_environment_is_made_once_and_anew_with_other_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_uv(command: Sequence[str]) -> str:
        ran.append(" ".join(command[1:3]))
        if command[1] == "venv":
            Path(command[-1]).mkdir(parents=True)
        return ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(swapped, "run_uv", run_uv)
    spec = backend()
    python = swapped.interpreter_of(spec, "a==1\n")
    assert ran == ["venv --quiet", "pip sync"]
    assert swapped.interpreter_of(spec, "a==1\n") == python
    assert len(ran) == 2
    assert swapped.pins_of(python) == "a==1\n"
    assert swapped.interpreter_of(spec, "a==2\n") != python
    assert len(ran) == 4


def test_an_environment_holds_copies_of_local_folders_and_is_made_anew_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run_uv(command: Sequence[str]) -> str:
        if command[1] == "venv":
            Path(command[-1]).mkdir(parents=True)
        else:
            asked.append(Path(command[-1]).read_text(encoding="utf-8"))
        return ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(swapped, "run_uv", run_uv)
    checkout = tmp_path / "checkout"
    package = checkout / "backends" / "sdk"
    package.mkdir(parents=True)
    (package / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (package / "sdk.egg-info").mkdir()
    lock = checkout / "backends" / "thing" / "requirements.txt"
    monkeypatch.setattr(swapped, "working_folder", lambda: checkout)
    spec = dataclasses.replace(backend(), folder=lock.parent)
    pins = "a==1\n-e ./backends/sdk\n"

    python = swapped.interpreter_of(spec, pins)
    copy = python.parents[1] / "local" / "sdk"
    assert [text.startswith(f"a==1\n{copy}\n") for text in asked] == [True]
    assert [path.name for path in copy.iterdir()] == ["pyproject.toml"]
    swapped.interpreter_of(spec, pins)
    assert len(asked) == 1
    (package / "pyproject.toml").write_text("[project]\nname = 'sdk'\n", encoding="utf-8")
    swapped.interpreter_of(spec, pins)
    assert len(asked) == 2


def test_an_environment_that_was_cut_short_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def run_uv(command: Sequence[str]) -> str:
        tries.append(command[1])
        if command[1] == "venv":
            Path(command[-1]).mkdir(parents=True)
        if tries == ["venv", "pip"]:
            raise NotInstalled("uv", "no room")
        return ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(swapped, "run_uv", run_uv)
    with pytest.raises(NotInstalled):
        swapped.interpreter_of(backend(), "a==1\n")
    swapped.interpreter_of(backend(), "a==1\n")
    assert tries == ["venv", "pip", "venv", "pip"]


def test_the_words_of_uv_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(tmp_path, "echo '  × No solution found:\n  ╰─▶ a and b' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        NotInstalled, match=re.escape("`uv pip compile` failed: No solution found: a and b")
    ):
        swapped.run_uv(["uv", "pip", "compile"])
    swapped.check_uv()
    (tmp_path / "uv").unlink()
    with pytest.raises(HarnessError, match="expected uv on PATH, found none"):
        swapped.check_uv()


def test_uv_and_pip_know_of_each_others_wheels() -> None:
    assert swapped.settings({"PIP_FIND_LINKS": "a b"})["UV_FIND_LINKS"] == "a,b"
    assert swapped.settings({"UV_FIND_LINKS": "a,b"})["PIP_FIND_LINKS"] == "a b"
    assert swapped.settings({"UV_DEFAULT_INDEX": "x"})["PIP_INDEX_URL"] == "x"
    assert swapped.settings({"UV_INDEX_URL": "x", "PIP_INDEX_URL": "y"})["PIP_INDEX_URL"] == "y"


def test_a_cell_is_read_with_all_of_its_failures(
    tmp_path: Path,
    make_result: Callable[..., CellResult],
    make_run: Callable[..., RunInfo],
) -> None:
    further = CellFailure(Stage.GENERATE, Outcome.FAIL, "token 3", "tokens", "")
    wrong = make_result(
        stage=Stage.VERIFY, outcome=Outcome.FAIL, reason="off by 2", cause="", further=[further]
    )
    for name, result in (("wrong", wrong), ("right", make_result())):
        with Store.open(tmp_path / f"{name}.duckdb") as store:
            store.begin(make_run("r1"))
            store.add("r1", result)
    found = session.read_cell(tmp_path / "wrong.duckdb")
    assert [failure.key for failure in found.failures] == [
        ("verify", "off by 2"), ("generate", "tokens"),
    ]  # fmt: skip
    assert found.line == "fail at verify: off by 2"
    assert session.read_cell(tmp_path / "right.duckdb") == PASSES


def test_a_session_that_cannot_start_says_why(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'ImportError: cannot import torch' >&2\necho; exit 4\n")
    python.chmod(0o755)
    with pytest.raises(NoResults, match="found ImportError: cannot import torch"):
        session.cell_in(python, backend(), "bert", "base", "default", [])


def backend() -> BackendSpec:
    return backends.find("torch-cpu")
