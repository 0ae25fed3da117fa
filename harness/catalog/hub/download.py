"""Download of a repository into the hub's cache: room first, then each file, each by its digest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.catalog.hub import errors
from harness.catalog.hub.repository import RemoteFile, Repository
from harness.contract import HarnessError

#: Called with bytes as they arrive; raises to give up.
Progress = Callable[[int], None]

#: Bytes that stay free on a disk: what else runs there wants some.
KEPT_FREE = 1_000_000_000

#: The mark of a repository that was downloaded for a session alone.
BORROWED = ".borrowed"

#: Bytes of a file that are hashed at once.
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """The hub's cache: what HF_HUB_CACHE names, else `hub` below HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def download(repository: Repository, cache: Path, progress: Progress = lambda _: None) -> Path:
    """Download what the cache lacks of a repository, and hold every file against its digest.

    A file gets its name in the cache once it is complete. One of another digest is removed.

    Args:
        repository: its files.
        cache: the folder of the hub's cache.
        progress: called with the bytes that arrive.

    Returns:
        The folder of its files, all of which are those that the hub lists.

    Raises:
        HubUnreachable: the hub does not answer, or may not be asked.
        HarnessError: there is no room, a file is not to be had, ends early, or is another one.
    """
    from huggingface_hub import constants, hf_hub_download

    if (lacking := lacking_room(repository, cache)) is not None:
        raise lacking
    folder = repository.folder(cache)
    for file in repository.missing(cache):
        _discard(folder / file.name)  # of another size
        with errors.told(repository.name, constants.ENDPOINT):
            hf_hub_download(
                repository.name,
                file.name,
                revision=repository.commit,
                cache_dir=cache,
                tqdm_class=_bar(progress),
            )
    for file in repository.files:
        _check_digest(repository.name, file, folder / file.name)
    return folder


def borrow(repository: Repository, cache: Path) -> None:
    """Mark a repository as downloaded for a session alone, where nothing of it is in the cache."""
    folder = repository.folder(cache).parents[1]
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / BORROWED).touch()


def give_back(repository: Repository, cache: Path) -> bool:
    """Remove a repository from the cache where `borrow` marked it; what was there before stays.

    Args:
        repository: any revision of it.
        cache: the folder of the hub's cache.

    Returns:
        Whether it was removed.
    """
    folder = repository.folder(cache).parents[1]
    borrowed = (folder / BORROWED).is_file()
    if borrowed:
        shutil.rmtree(folder, ignore_errors=True)
    return borrowed


def discard_incomplete(repository: Repository, cache: Path) -> None:
    """Remove halves of files that a download which was given up has left."""
    for path in (repository.folder(cache).parents[1] / "blobs").glob("*.incomplete"):
        path.unlink(missing_ok=True)


def lacking_room(repository: Repository, cache: Path) -> HarnessError | None:
    """The error for a repository that the cache's disk has no room for; None where it has."""
    wanted = sum(file.size for file in repository.missing(cache))
    there = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = shutil.disk_usage(there).free - KEPT_FREE
    if wanted and wanted > free:
        return HarnessError(
            f"expected {gigabytes(wanted)} for {repository.name} and {gigabytes(KEPT_FREE)} to "
            f"spare in {cache}, found {gigabytes(free + KEPT_FREE)} free. Fix: make room there, or "
            "let HF_HUB_CACHE name a folder on another disk"
        )
    return None


def gigabytes(size: int) -> str:
    """A size in words, in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _check_digest(name: str, file: RemoteFile, path: Path) -> None:
    """Refuse, and remove, a file that is not the one of which the hub tells the digest."""
    if file.sha256:
        digest, want = hashlib.sha256(), file.sha256
    elif file.blob:
        # Git hashes a file behind a header with its length.
        digest, want = (
            hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False),
            file.blob,
        )
    else:
        return
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != want:
        _discard(path)
        raise HarnessError(
            f"expected {file.name} of {name} to have the digest {want}, found {digest.hexdigest()}."
            " It is removed. Fix: run it again; where that says the same, what HF_ENDPOINT names "
            "is no true mirror"
        )


def _discard(path: Path) -> None:
    """Remove a file of the cache: the link with the file's name, and the contents."""
    contents = path.resolve()
    path.unlink(missing_ok=True)
    contents.unlink(missing_ok=True)


def _bar(progress: Progress) -> Any:
    """A progress bar's class that draws nothing, as `huggingface_hub` makes one for each file."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> None:
            progress(int(n or 0))

    return Bar
