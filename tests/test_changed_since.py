"""`--changed-since REV` runs the cells that a change touches, and shows the others as not run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from workplace import FAKES, ROOT, Workplace

from harness.contract import HarnessError
from harness.session.changed_since import telling
from harness.toolkit.git_repository import GitRepository
from harness.toolkit.version import identity

#: A module that every cell imports, one that no cell does, and one that no cell imports yet.
USED, UNUSED, OTHER = (
    "harness/toolkit/numerics.py",
    "harness/report/words.py",
    "harness/cell/extra.py",
)


def git(folder: Path, *words: str) -> str:
    """Run git as a person of this test."""
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *person, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Clone:
    """A clone of this project with two entries and a fake backend of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.place = Workplace(self.folder)

    def make(self) -> None:
        self.folder.mkdir(parents=True)
        shutil.copytree(
            ROOT / "harness", self.folder / "harness", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        shutil.copytree(FAKES / "good", self.folder / "fakes" / "good")
        shutil.copy(FAKES / "_numpy_case.py", self.folder / "fakes")
        (self.folder / "backends").mkdir()
        (self.folder / ".gitignore").write_text("results/\n__pycache__/\nignored.py\n")
        (self.folder / "notes.md").write_text("# Notes\n")
        self.place.write(vision="vit swin")
        git(self.folder, "init", "-q", "-b", "main")
        self.commit("first")

    def commit(self, text: str) -> None:
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "-q", "-m", text)

    def edit(self, name: str, text: str = "\n# another\n") -> None:
        path = self.folder / name
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        path.write_text(before + text, encoding="utf-8")

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-rs", "-v", "-p", "no:cacheprovider"),
                *("-c", "pyproject.toml", "--backend", "good", "--backends-dir=fakes"),
                *("--lists=model_lists", "--results=results", *options),
            ],
            cwd=self.folder,
            env=self.place.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def ran(self, revision: str, *options: str) -> set[str]:
        """The entries that ran; each other one is shown as not run."""
        done = self.run("--changed-since", revision, *options)
        assert done.returncode == 0, done.stdout
        passed = set(re.findall(r"(\w+)\[good-default\] PASSED", done.stdout))
        assert done.stdout.count("not run: nothing that it uses has changed since") >= (
            1 if len(passed) < 2 else 0
        )
        return passed


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose cells have run once, at its only commit."""
    clone = Clone(tmp_path_factory.mktemp("first"))
    clone.make()
    found = clone.run("--changed-since", "main")
    assert "2 passed" in found.stdout, found.stdout
    assert "2 ran for want of a list of their files" in found.stdout
    return clone


@pytest.fixture
def clone(first: Clone, tmp_path: Path) -> Clone:
    shutil.copytree(first.folder, tmp_path / "clone", symlinks=True)
    return Clone(tmp_path)


def test_nothing_changed_runs_nothing_and_stores_no_result(clone: Clone) -> None:
    done = clone.run("--changed-since", "main")
    assert "2 skipped" in done.stdout
    assert "good: nothing has changed" in done.stdout
    base = git(clone.folder, "rev-parse", "--short=12", "HEAD")
    said = f"2 cells not run: nothing that they use has changed since main ({base})"
    assert said in done.stdout
    assert "passed" not in done.stdout.splitlines()[-1]
    with duckdb.connect(str(clone.folder / "results" / "good.duckdb"), read_only=True) as results:
        assert results.execute("SELECT count(*) FROM cells").fetchall() == [(2,)]


#: Files of which nothing of a cell follows, and what is added to them.
OTHERS = {
    UNUSED: "\n# another\n",
    "notes.md": "more\n",
    "fakes/good/README.md": "# Good\n",
    "fakes/other/backend.toml": 'title = "Another"\n',
}


def test_what_no_cell_uses_touches_none(clone: Clone) -> None:
    (clone.folder / "fakes" / "other").mkdir()
    for name, text in OTHERS.items():
        clone.edit(name, text)
    assert clone.ran("main") == set()


@pytest.mark.parametrize(
    "name",
    [
        USED,
        "fakes/_numpy_case.py",
        "fakes/good/requirements.txt",
        "fakes/good/new_table.toml",  # not even added to git
    ],
)
def test_what_all_cells_use_touches_all(clone: Clone, name: str) -> None:
    clone.edit(name)
    assert clone.ran("main") == {"vit", "swin"}


def test_a_row_touches_its_own_cells(clone: Clone) -> None:
    clone.edit("model_lists/vision.toml", "config = { depth = 3 }\n")  # of the last one
    assert clone.ran("main") == {"swin"}


def test_what_is_committed_on_the_branch_counts_and_what_came_to_main_does_not(
    clone: Clone,
) -> None:
    git(clone.folder, "switch", "-q", "-c", "branch")
    clone.edit("notes.md")
    clone.commit("notes")
    git(clone.folder, "switch", "-q", "main")
    clone.edit(USED)
    clone.commit("main goes on")
    git(clone.folder, "switch", "-q", "branch")
    assert clone.ran("main") == set()
    clone.edit(USED, "\n# committed\n")
    clone.commit("code")
    assert clone.ran("main") == {"vit", "swin"}


def test_a_list_of_files_that_is_too_old_is_not_believed(clone: Clone) -> None:
    """Since the list was made, a used module may have begun to import what now changes."""
    clone.edit(USED, "\nimport harness.contract as _contract  # and soon another\n")
    clone.commit("on main, after the run")
    git(clone.folder, "switch", "-q", "-c", "branch")
    clone.edit("notes.md")
    assert clone.ran("main") == set()  # no code at all
    clone.edit(OTHER, "x = 1\n")
    done = clone.run("--changed-since", "main")
    assert "2 passed" in done.stdout
    assert "2 ran for want of a list of their files that holds" in done.stdout


def test_other_options_have_no_list(clone: Clone) -> None:
    assert clone.ran("main", "--seed", "1") == {"vit", "swin"}
    assert clone.ran("main", "--checks", "deep") == {"vit", "swin"}


def test_a_file_that_git_ignores_is_not_taken_for_unchanged(clone: Clone) -> None:
    case = clone.folder / "fakes" / "_numpy_case.py"
    (clone.folder / "fakes" / "ignored.py").write_text("x = 1\n")
    case.write_text(f"{case.read_text()}\nimport fakes.ignored\n")
    clone.commit("uses an ignored file")
    assert "2 passed" in clone.run().stdout
    assert clone.ran("main") == {"vit", "swin"}


def test_a_failure_runs_again(clone: Clone) -> None:
    backend = clone.folder / "fakes" / "good" / "backend.py"
    right = "v.astype(np.float32) for"
    assert right in backend.read_text()
    wrong = backend.read_text().replace(right, "v.astype(np.float32) * np.nan for")
    backend.write_text(wrong)
    clone.commit("wrong")
    assert "2 failed" in clone.run().stdout
    assert "2 failed" in clone.run("--changed-since", "main").stdout


def test_of_both_options_a_cell_needs_one(clone: Clone) -> None:
    clone.edit("harness/toolkit/machine.py")  # another digest; the row of swin is the same
    clone.edit("model_lists/vision.toml", "config = { depth = 3 }\n")
    clone.commit("on main")
    assert "2 passed" in clone.run().stdout
    assert "2 skipped" in clone.run("--changed-since", "HEAD~1", "--changed").stdout
    assert clone.ran("HEAD~1") >= {"swin"}


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("no_such", "found 'no_such'. Fix: correct it, or fetch it"),
        ("--all", "found '--all'"),
        (" ", "found an empty name"),
    ],
)
def test_an_unknown_revision_is_refused(clone: Clone, revision: str, message: str) -> None:
    done = clone.run(f"--changed-since={revision}")
    assert done.returncode == 4
    assert message in done.stdout.replace("\n", " ")


def test_a_shallow_clone_says_how_to_get_the_rest(clone: Clone, tmp_path: Path) -> None:
    git(clone.folder, "switch", "-q", "-c", "branch")
    clone.edit("notes.md")
    clone.commit("on the branch")
    git(clone.folder, "switch", "-q", "main")
    clone.edit(USED)
    clone.commit("on main")
    source = clone.folder.as_uri()
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=branch", source, "shallow")
    shallow = GitRepository.around(tmp_path / "shallow")
    assert shallow.is_shallow
    with pytest.raises(HarnessError, match=r"`git fetch --unshallow`, or `fetch-depth: 0`"):
        shallow.commit("origin/main")
    git(tmp_path / "shallow", "fetch", "-q", "--depth=1", "origin", "main")
    with pytest.raises(HarnessError, match=r"found a shallow clone without it\. Fix: `git fetch"):
        shallow.fork_point(shallow.commit("FETCH_HEAD"))
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow", "origin", "main", "branch")
    assert shallow.fork_point(shallow.commit("FETCH_HEAD"))


def test_strangers_have_no_commit_in_common(clone: Clone) -> None:
    git(clone.folder, "switch", "-q", "--orphan", "other")
    (clone.folder / "alone").write_text("x")
    clone.commit("alone")
    repository = GitRepository.around(clone.folder)
    with pytest.raises(HarnessError, match="an ancestor in common"):
        repository.fork_point(repository.commit("main"))


def test_a_folder_without_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(HarnessError, match=r"expected a git repository around .* with git instal"):
        GitRepository.around(tmp_path)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(HarnessError, match="expected a git repository around"):
        GitRepository.around(tmp_path)


def test_options_that_tell_of_files_are_read_in_both_spellings() -> None:
    words = ["--models", "bert", "--checks", "deep", "--ep-option=a=1", "--ep-option", "b=2", "-x"]
    assert telling(words) == {"checks": ("deep",), "ep_option": ("a=1", "b=2")}
    assert telling(["--checks=deep"]) == telling(["--checks", "deep"]) != telling([])


def test_two_builds_of_one_version_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        version = "0.1.0"
        record = (
            "a.py,sha256=1,2\nx.dist-info/METADATA,sha256=3,4\na.pyc,,\n"
            "../../../bin/hf-hardware-matrix,sha256=6,7\n"
        )

        def read_text(self, _: str) -> str:
            return self.record

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Distribution())
    one = identity()
    Distribution.record = Distribution.record.replace("sha256=3", "sha256=5")
    assert identity() == one, "the metadata has the place that it was installed from"
    Distribution.record = Distribution.record.replace("sha256=6", "sha256=8")
    assert identity() == one, "a script begins with the path of its environment's Python"
    Distribution.record = Distribution.record.replace("sha256=1", "sha256=5")
    assert identity() != one
