"""On-disk cache of converted and compiled models, with a checksum each and a limit on its size.

An entry is one file: a line of JSON, then the payload, whose SHA-256 the line holds. It is written
beside its place and renamed into it, so that readers and other writers see all of it or nothing.
A cache is never needed: whatever goes wrong with it, the cell makes the thing itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.contract import HarnessError
from harness.toolkit.atomic_write import DRAFT, write_atomically
from harness.toolkit.checkout import INSTALLED, ROOT
from harness.toolkit.version import DISTRIBUTION

#: The cache folder of a checkout.
FOLDER = ROOT / ".harness-cache"
#: Environment variable with another folder for the cache.
FOLDER_VARIABLE = "HARNESS_CACHE"
#: How much the entries may take, in MB; `Cache._make_room` says which ones go.
LIMIT_VARIABLE = "HARNESS_CACHE_MB"
LIMIT_MB = 4000

#: The share of a full cache that eviction leaves, so that not every writer evicts.
KEPT = 0.9
#: Seconds without a use after which an entry goes before those that were used since: a day.
UNUSED = 86400.0
#: Seconds after which a half-written file is nobody's: its writer was killed.
ABANDONED = 3600.0

#: Bytes of a disk below which a run begins with a warning.
SCARCE = 100_000_000

_SUFFIX = ".entry"

#: Payload of an entry: bytes by name.
Payload = Mapping[str, bytes]


def key(**parts: object) -> str:
    """Cache key: the SHA-256 of all that the entry follows from, as 64 hexadecimal digits.

    Args:
        parts: what JSON can hold; anything else counts as its `repr`.
    """
    text = json.dumps(parts, sort_keys=True, default=repr, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def user_folder() -> Path:
    """The user's cache folder, as the operating system has one, for all that this project keeps."""
    from platformdirs import user_cache_path

    return user_cache_path(DISTRIBUTION, appauthor=False)


def usual_folder() -> Path:
    """The cache folder where the environment names none: the checkout's, or the user's."""
    return user_folder() / "models" if INSTALLED else FOLDER


@dataclass(slots=True)
class Cache:
    """A folder of entries by key, shared by any number of processes.

    Attributes:
        folder: where the entries are; made by the first write. None keeps nothing.
        limit: bytes that all entries together may take.
        trouble: why the last entry could not be read or written; empty where all went well.
        looks_every: of so many entries written, one looks at the size of all. A cache of thousands
            of small entries would spend more on looking than on writing.
    """

    folder: Path | None
    limit: int = LIMIT_MB * 1_000_000
    trouble: str = ""
    looks_every: int = 1

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Cache:
        """The cache of a session: none under `--no-cache`.

        Args:
            options: those that the backend is opened with.

        Raises:
            HarnessError: the limit in the environment is no number.
        """
        if options.get("cache") == "off":
            return cls(None)
        folder = os.environ.get(FOLDER_VARIABLE)
        said = os.environ.get(LIMIT_VARIABLE, str(LIMIT_MB))
        if not re.fullmatch(r"[0-9]{1,9}", said):
            raise HarnessError(
                f"expected {LIMIT_VARIABLE} to be a number of megabytes, found {said[:80]!r}. "
                "Fix: set it to one of at most 9 digits, or unset it"
            )
        return cls(Path(folder) if folder else usual_folder(), int(said) * 1_000_000)

    def within(self, folder: str, looks_every: int = 1) -> Cache:
        """A cache of its own in a folder of this one, with the same limit."""
        inner = self.folder / folder if self.folder else None
        return replace(self, folder=inner, looks_every=looks_every)

    def key_of(self, make: Callable[[], str]) -> str:
        """The key that a function makes; empty where nothing is kept, and no key is needed.

        Args:
            make: calls `key`. It may hash all weights of a model, and hold a copy of them.
        """
        return make() if self.folder is not None else ""

    def obstacle(self) -> str:
        """The reason why the cache can keep no new entry, with a remedy; empty where it can."""
        if self.folder is None:
            return ""
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        remedy = f"Fix: make it so, or set {FOLDER_VARIABLE} to another folder"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"the cache keeps nothing: expected {there} to be writable. {remedy}"
        free = shutil.disk_usage(there).free
        if free < SCARCE:
            return (
                f"the cache keeps nothing or little: expected {SCARCE // 1_000_000} MB to be free "
                f"at {there}, found {free / 1e6:.1f}. {remedy}"
            )
        return ""

    def get(self, name: str) -> dict[str, bytes] | None:
        """The parts of an entry; None where there is none, or none that is whole.

        A damaged entry is removed, so that the next write repairs it.

        Args:
            name: what `key` made.
        """
        if self.folder is None:
            return None
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.trouble = f"cache entry not read: {error}"
            return None
        parts = _parts(data, name)
        if parts is None:
            self.trouble = f"cache entry {path.name} was damaged, and is made again"
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # what is used stays
        return parts

    def put(self, name: str, parts: Payload | Callable[[], Payload]) -> bool:
        """Write an entry; True where it was kept. A full disk is no error: `trouble` says so.

        Args:
            name: what `key` made.
            parts: the payload by name, or what makes it: a cache that keeps nothing does not call
                that, since a payload may be as large as a model.

        Raises:
            Exception: what makes the payload raises.
        """
        if self.folder is None:
            return False
        parts = parts() if callable(parts) else parts
        payload = b"".join(parts.values())
        head = {
            "key": name,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "parts": {part: len(data) for part, data in parts.items()},
        }
        data = json.dumps(head).encode() + b"\n" + payload
        if len(data) > self.limit:
            self.trouble = (
                f"cache entry not kept: it has {len(data)} bytes, and all may have {self.limit}"
            )
            return False
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if int(hashlib.sha256(name.encode()).hexdigest(), 16) % self.looks_every == 0:
                self._make_room(len(data))
            write_atomically(path, data)
        except OSError as error:
            self.trouble = f"cache entry not written, going on without: {error}"
            return False
        return True

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}{_SUFFIX}"

    def _make_room(self, wanted: int) -> None:
        """Remove entries, and what killed writers left.

        The least recently used go first, but for those of the last day, which go in the order of
        their names, which are random. A whole list may need more than the limit holds, and would,
        run again in its order, find of each entry that it was the next to go. So a part of them
        stays, and is found again.
        """
        assert self.folder is not None
        held: list[tuple[float, int, str]] = []
        newest = 0.0
        with os.scandir(self.folder) as files:
            for file in files:
                # Another process may have removed it since.
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    newest = max(newest, stat.st_mtime)
                    held.append((stat.st_mtime, stat.st_size, file.path))
        total = sum(size for _, size, _ in held) + wanted
        allowed = self.limit if total <= self.limit else KEPT * self.limit
        for used, size, path in sorted(held, key=lambda entry: _order(entry[0], entry[2], newest)):
            abandoned = path.endswith(DRAFT) and newest - used > ABANDONED
            if not abandoned and (total <= allowed or path.endswith(DRAFT)):
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total -= size


def _order(used: float, path: str, newest: float) -> tuple[float, str]:
    """The place of an entry among those that are to go: those unused for a day by their age."""
    return (used if newest - used > UNUSED else float("inf"), path)


def _parts(data: bytes, name: str) -> dict[str, bytes] | None:
    """The parts of an entry's file; None where it is not what was written."""
    line, _, payload = data.partition(b"\n")
    try:
        head = json.loads(line)
        sizes: dict[str, int] = head["parts"]
        whole = head["key"] == name and head["sha256"] == hashlib.sha256(payload).hexdigest()
    except (ValueError, KeyError, TypeError):
        return None
    if not whole or sum(sizes.values()) != len(payload):
        return None
    parts, start = {}, 0
    for part, size in sizes.items():
        parts[part] = payload[start : start + size]
        start += size
    return parts
