"""Wheel of a distribution as this environment has it, for the environments of sessions.

A session then runs the very code that is installed here, beside nox or beside a command, from an
index, a repository or a folder alike, and asks no network for it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

#: Files of a distribution's metadata that its installer has written.
INSTALLERS = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"}


class NotCopied(Exception):
    """A distribution that is not there, or in a form that no wheel can be made from."""


@functools.cache
def fingerprint(name: str) -> str:
    """A digest that changes with what is installed of a distribution."""
    found = _distribution(name)
    words = [
        found.version,
        *(found.read_text(file) or "" for file in ("RECORD", "direct_url.json")),
    ]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def requirement(name: str, folder: Path) -> list[str]:
    """The installer's arguments for a distribution: a wheel of it, or the folder it is linked to.

    Args:
        name: of the distribution.
        folder: that the wheel is written to.

    Raises:
        NotCopied: it is not there, or not of Python alone; says what to do.
    """
    found = _distribution(name)
    linked = _linked_folder(found)
    return ["-e", str(linked)] if linked else [str(wheel(found, folder))]


def wheel(found: Distribution, folder: Path) -> Path:
    """Write the wheel of an installed distribution.

    Args:
        found: the distribution.
        folder: that the wheel is written to.

    Raises:
        NotCopied: its metadata does not say which files it has, or is of no wheel.
    """
    files = found.files
    told = found.read_text("WHEEL")
    name = found.metadata["Name"]
    if files is None or told is None:
        raise NotCopied(
            f"Expected {name} as an installer leaves a wheel, found it without RECORD or WHEEL in "
            f"its metadata. Fix: {sys.executable} -m pip install it again"
        )
    tag = next(
        line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("Tag:")
    )
    path = folder / f"{name.replace('-', '_')}-{found.version}-{tag}.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            outside = file.parts[0] == ".."  # a console script, which an installer makes anew
            if outside or file.name in INSTALLERS or "__pycache__" in file.parts:
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            archive.writestr(file.as_posix(), data)
            record.append(f"{file.as_posix()},sha256={digest},{len(data)}")
        metadata = next(file.parent for file in files if file.name == "WHEEL")
        place = f"{metadata.as_posix()}/RECORD"
        archive.writestr(place, "\n".join([*record, f"{place},,", ""]))
    return path


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise NotCopied(
            f"Expected {name} in the environment of {sys.executable}, found none. "
            f"Fix: {sys.executable} -m pip install it"
        ) from None


def _linked_folder(found: Distribution) -> Path | None:
    """The folder of an editable install; None for an ordinary one."""
    told = json.loads(found.read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(told["url"]).path))
