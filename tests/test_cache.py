"""The cache keeps what it was given, or nothing."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.contract import HarnessError
from harness.toolkit import cache
from harness.toolkit.cache import Cache

NAME = cache.key(model="bert", seed=0)
PARTS = {"model.xml": b"<net/>\n", "model.bin": bytes(range(256)) * 4, "empty": b""}


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def the_file(store: Cache) -> Path:
    assert store.folder is not None
    (found,) = store.folder.iterdir()
    return found


def test_key_follows_from_every_part_and_their_names() -> None:
    keys = [
        cache.key(a=1, b="x"),
        cache.key(a=1, b="y"),
        cache.key(a=1, c="x"),
        cache.key(a=2, b="x"),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(b="x", a=1) == keys[0]


def test_returns_what_was_put(store: Cache) -> None:
    assert store.get(NAME) is None
    assert store.put(NAME, PARTS)
    assert store.get(NAME) == PARTS
    assert store.trouble == ""


def test_second_write_replaces_the_first(store: Cache) -> None:
    store.put(NAME, PARTS)
    store.put(NAME, {"other": b"1"})
    assert store.get(NAME) == {"other": b"1"}
    assert len(list(the_file(store).parent.iterdir())) == 1


@pytest.mark.parametrize("at", [0, 20, -1])
def test_one_changed_byte_is_found_removed_and_repaired(store: Cache, at: int) -> None:
    store.put(NAME, PARTS)
    data = bytearray(the_file(store).read_bytes())
    data[at] ^= 1
    the_file(store).write_bytes(data)
    assert store.get(NAME) is None
    assert "damaged" in store.trouble
    assert store.folder is not None
    assert list(store.folder.iterdir()) == []
    assert store.put(NAME, PARTS)
    assert store.get(NAME) == PARTS


@pytest.mark.parametrize("size", [0, 10, 300])
def test_short_file_is_found(store: Cache, size: int) -> None:
    store.put(NAME, PARTS)
    path = the_file(store)
    path.write_bytes(path.read_bytes()[:size])
    assert store.get(NAME) is None


def test_entry_under_another_name_is_not_taken(store: Cache) -> None:
    store.put(NAME, PARTS)
    other = cache.key(model="gpt2")
    os.replace(the_file(store), the_file(store).with_name(f"{other}.entry"))
    assert store.get(other) is None


class FullDisk(io.BytesIO):
    """A file on a disk that takes a few bytes more."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_costs_only_the_entry(store: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(NAME, PARTS)
    before = the_file(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: path.touch() or FullDisk())
        assert not store.put(cache.key(model="gpt2"), PARTS)
    assert "No space left" in store.trouble
    assert the_file(store) == before  # nothing half-written is left
    assert store.get(NAME) == PARTS


def test_a_cache_that_keeps_nothing_makes_neither_key_nor_payload(tmp_path: Path) -> None:
    """Both may cost as much memory as the model."""
    made: list[str] = []

    def key() -> str:
        made.append("key")
        return NAME

    def payload() -> dict[str, bytes]:
        made.append("payload")
        return PARTS

    nothing = Cache(None)
    assert nothing.key_of(key) == ""
    assert not nothing.put(NAME, payload)
    assert made == []
    store = Cache(tmp_path)
    assert store.put(store.key_of(key), payload)
    assert made == ["key", "payload"]
    assert store.get(NAME) == PARTS


def test_folder_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    store = Cache(tmp_path / "file" / "cache")
    assert not store.put(NAME, PARTS)
    assert store.trouble
    assert store.get(NAME) is None


def test_a_list_that_needs_more_than_the_limit_finds_a_part_of_itself_again(tmp_path: Path) -> None:
    """By their age alone, each entry would go just before it is asked for."""
    store = Cache(tmp_path, limit=20_000)
    names = [cache.key(n=n) for n in range(30)]
    found = []
    for _ in range(4):
        missing = [name for name in names if store.get(name) is None and put(store, name)]
        found.append(len(names) - len(missing))
    assert found[0] == 0
    assert min(found[1:]) >= 12


def put(store: Cache, name: str) -> bool:
    return store.put(name, {"x": bytes(900)})


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit=5000)
    names = [cache.key(n=n) for n in range(5)]
    for age, name in enumerate(names[:4]):
        store.put(name, {"x": bytes(1000)})
        os.utime(tmp_path / f"{name}.entry", (1000 + age, 1000 + age))
    assert store.get(names[0]) is not None  # used, and so the youngest
    store.put(names[4], {"x": bytes(1000)})
    left = [name for name in names if store.get(name) is not None]
    assert left == [names[0], names[3], names[4]]  # down to nine tenths, not just below the limit
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 5000


def test_entry_beyond_the_limit_is_not_kept(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache", limit=100)
    assert not store.put(NAME, PARTS)
    assert "100" in store.trouble


def test_what_a_killed_writer_left_goes(store: Cache) -> None:
    store.put(NAME, PARTS)
    left, young = the_file(store).with_name("a.1.half"), the_file(store).with_name("b.2.half")
    left.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(left, (1000, 1000))
    store.put(NAME, PARTS)
    assert not left.exists()
    assert young.exists()  # somebody may be writing it


def write_often(folder: Path, mark: int) -> None:
    store = Cache(folder)
    for _ in range(30):
        assert store.put(NAME, {"x": bytes([mark]) * 50_000})


def test_parallel_writers_never_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(tmp_path, mark)) for mark in (1, 2, 3)]
    for writer in writers:
        writer.start()
    store = Cache(tmp_path)
    while any(writer.is_alive() for writer in writers):
        found = store.get(NAME)
        assert found is None or len(set(found["x"])) == 1
        assert store.trouble == ""
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".entry"]


def test_no_cache_keeps_nothing() -> None:
    store = Cache.of({"cache": "off"})
    assert not store.put(NAME, PARTS)
    assert store.get(NAME) is None
    assert store.trouble == ""


def test_place_and_limit_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("HARNESS_CACHE_MB", "7")
    assert Cache.of({}) == Cache(tmp_path, 7_000_000)
    for wrong in ("much", "", "-1", "1.5", "inf", "9" * 10, "9" * 5000, "٣"):
        monkeypatch.setenv("HARNESS_CACHE_MB", wrong)
        with pytest.raises(HarnessError, match="HARNESS_CACHE_MB"):
            Cache.of({})


def test_a_run_begins_with_why_nothing_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Cache(tmp_path / "not" / "yet")
    assert kept.obstacle() == Cache(None).obstacle() == ""
    monkeypatch.setattr(cache, "SCARCE", 10**18)
    assert re.search(rf"MB to be free at {tmp_path}, found [\d.]+. Fix: ", kept.obstacle())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert f"expected {tmp_path} to be writable. Fix: " in kept.obstacle()
    assert "HARNESS_CACHE" in kept.obstacle()


def test_cache_within_a_cache_is_one_of_its_own(store: Cache) -> None:
    inner = store.within("references")
    inner.put(NAME, PARTS)
    assert store.get(NAME) is None
    assert inner.get(NAME) == PARTS
    assert Cache(None).within("references").folder is None


def test_cache_of_small_entries_looks_at_its_size_now_and_then(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit=3000, looks_every=4)
    for number in range(100):
        store.put(cache.key(number=number), {"part": bytes(100)})
    held = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert held < 2 * store.limit
