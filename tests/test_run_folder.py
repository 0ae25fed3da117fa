"""Run folders: that of a killed run is removed by the next run, that of a living one never."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.contract import HarnessError
from harness.workers import orphans, run_folder

ROOT = Path(__file__).resolve().parent.parent

#: Makes a run folder, starts a process with its mark, says both, and waits.
OWNER = """
import os, subprocess, sys
from harness.workers import orphans, run_folder
folder = run_folder.run_folder()
(folder / "file").touch()
command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
mark = {orphans.MARK_VARIABLE: folder.name}
left = subprocess.Popen(command, env={**os.environ, **mark}, stdout=subprocess.DEVNULL)
print(folder, left.pid, flush=True)
sys.stdin.read()
"""


class Owner:
    """Another process with a run folder."""

    def __init__(self, parent: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER], cwd=ROOT, env={**os.environ, "TMPDIR": str(parent)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        folder, left = self.process.stdout.readline().split()
        self.folder, self.left = Path(folder), psutil.Process(int(left))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.kill()
    if owner.left.is_running():
        owner.left.kill()


def test_a_living_runs_folder_stays(tmp_path: Path, owner: Owner) -> None:
    assert run_folder.remove_leftovers(tmp_path) == []
    assert (owner.folder / "file").exists()
    assert owner.left.is_running()


def test_a_killed_runs_folder_is_removed_with_its_processes(tmp_path: Path, owner: Owner) -> None:
    owner.kill()
    assert run_folder.remove_leftovers(tmp_path) == [owner.folder]
    assert not owner.folder.exists()
    gone, _ = psutil.wait_procs([owner.left], timeout=10)
    assert gone


def test_a_run_that_ends_by_itself_leaves_nothing(tmp_path: Path, owner: Owner) -> None:
    owner.process.communicate("")
    assert not owner.folder.exists()


def test_what_is_no_run_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (tmp_path / f"{run_folder.PREFIX}link").symlink_to(other)
    (tmp_path / f"{run_folder.PREFIX}file").touch()
    (tmp_path / "harness-abcdefgh").mkdir()
    assert run_folder.remove_leftovers(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="users by number")
def test_another_users_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / f"{run_folder.PREFIX}theirs"
    theirs.mkdir()
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    assert run_folder.remove_leftovers(tmp_path) == []
    monkeypatch.undo()
    assert run_folder.remove_leftovers(tmp_path) == [theirs]


def test_a_removed_folder_is_made_anew_and_is_locked_again(tmp_path: Path) -> None:
    code = (
        "import shutil\nfrom harness.workers import run_folder as r\n"
        "from pathlib import Path\nfirst = r.run_folder()\nshutil.rmtree(first)\n"
        "assert r.run_folder() == first and first.is_dir()\n"
        "assert r.remove_leftovers(first.parent) == []\nprint(first.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_an_error_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(run_folder, "_current", None)
    with pytest.raises(HarnessError, match=r"found: .*No space left.*Fix: make room .*df -i"):
        run_folder.run_folder()


def test_a_process_without_the_mark_is_left_alone(owner: Owner) -> None:
    orphans.end_marked("harness-run-of-somebody-else")
    assert owner.left.is_running()
