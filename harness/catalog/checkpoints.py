"""Checkpoints in a local folder: laid out by name, or as in the Hugging Face hub's cache.

    DIR/ORGANISATION/NAME/config.json
    DIR/models--ORGANISATION--NAME/snapshots/REVISION/config.json    refs/main says which revision

The cache may be `DIR/hub`, as below the folder that HF_HOME names. Nothing is downloaded here;
`harness/catalog/hub/` fills the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness.contract import Entry, HarnessError

#: A repository on the hub. Neither part is `.` or `..`, so that no name leads out of a folder.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
#: A revision: a commit, or the name of a branch or tag, as `refs/main` holds one.
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
#: The file that says what a checkpoint is; each has one.
CONFIG = "config.json"
#: How many names a message lists.
SHOWN = 5


def find(folder: Path, name: str, revision: str = "") -> Path | None:
    """The folder of a checkpoint's files; None where it is not there.

    Args:
        folder: what `--checkpoints` names.
        name: the repository, as ORGANISATION/NAME.
        revision: the commit to take from a cache; empty for the one of `refs/REVISION` or the only.

    Raises:
        HarnessError: `name` is no repository's, or the cache holds several revisions of it and does
            not say which is meant.
    """
    if not NAME.fullmatch(name):
        raise HarnessError(
            f"expected a checkpoint's name to be ORGANISATION/NAME, found {name!r}. "
            "Fix: correct `checkpoint` in the model list"
        )
    for root in (folder, folder / "hub"):
        if (root / name / CONFIG).is_file():
            return root / name
        cached = _snapshot(root / f"models--{name.replace('/', '--')}", revision)
        if cached is not None:
            return cached
    return None


def check_any(folder: Path, entries: Iterable[Entry]) -> None:
    """Refuse a folder that has no checkpoint of any entry.

    Args:
        folder: what `--checkpoints` names.
        entries: those that are to run.

    Raises:
        HarnessError: there is none; says what was looked for, and what the folder holds.
    """
    names = list(dict.fromkeys(entry.checkpoint for entry in entries if entry.checkpoint))
    if any(find(folder, name) is not None for name in names):
        return
    held = sorted(path.name for path in folder.iterdir())
    wanted = _listed(names) or "none, since no selected entry names one"
    raise HarnessError(
        f"expected --checkpoints to hold a checkpoint of a selected entry ({wanted}) as "
        f"ORGANISATION/NAME/{CONFIG}, or as the hub's cache "
        f"(models--ORGANISATION--NAME/snapshots), found {_listed(held) or 'nothing'} in {folder}. "
        "Fix: name the folder that has them, or select their entries with --models"
    )


def _snapshot(repository: Path, revision: str) -> Path | None:
    """The files of a repository in the hub's cache, of a commit or of what `refs/` says."""
    if revision and not REVISION.fullmatch(revision):
        raise HarnessError(
            f"expected a revision to be a commit, branch or tag, found {revision[:80]!r}. "
            "Fix: correct `revision` in the model list"
        )
    if revision and (repository / "snapshots" / revision / CONFIG).is_file():
        return repository / "snapshots" / revision
    reference = repository / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if revision:
            return None
        found = sorted(path.parent for path in (repository / "snapshots").glob(f"*/{CONFIG}"))
        if len(found) > 1:
            raise HarnessError(
                f"expected {reference} to say which snapshot is meant, found no such file and "
                f"{len(found)} snapshots ({_listed([path.name for path in found])}). "
                "Fix: write the name of one into it"
            ) from None
        return found[0] if found else None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(
            f"expected {reference} to hold the name of a snapshot, found: {error}. "
            "Fix: download the checkpoint anew"
        ) from None
    if not REVISION.fullmatch(commit):
        raise HarnessError(
            f"expected {reference} to hold the name of a snapshot, found {commit[:80]!r}. "
            "Fix: download the checkpoint anew"
        )
    snapshot = repository / "snapshots" / commit
    return snapshot if (snapshot / CONFIG).is_file() else None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
