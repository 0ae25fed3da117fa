"""Failures as entries of the cache: what failed once fails again, as long as nothing has changed.

An exporter that fails has tried every way it knows, which takes longer than a success. A failure is
kept under the key of what would have been made, so that it is tried again with other versions,
weights, inputs or code.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping

from harness.toolkit import fingerprints

#: The part of an entry that is a failure.
PART = "failure.json"


class KeptFailure(Exception):
    """A failure from the cache; its class has the name of the one that was raised.

    Args:
        message: what the exception said.
        place: where it was raised, as `harness.toolkit.fingerprints.place` found it.
    """

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


def lasting(error: Exception) -> bool:
    """Whether an exception follows from what was to be made, and not from the machine's state."""
    chain: BaseException | None = error
    while chain is not None:
        memory = fingerprints.is_out_of_memory(type(chain).__name__, str(chain))
        if memory or isinstance(chain, OSError):
            return False
        chain = chain.__cause__
    return True


def pack(error: Exception) -> dict[str, bytes]:
    """A failure as the parts of a cache entry."""
    said = {
        "type": type(error).__name__,
        "message": str(error),
        "place": fingerprints.place(traceback.extract_tb(error.__traceback__)),
        "traceback": "".join(traceback.format_exception(error)),
    }
    return {PART: json.dumps(said).encode()}


def raise_kept(parts: Mapping[str, bytes]) -> None:
    """Raise the failure that a cache entry holds; return where the entry holds none.

    Raises:
        KeptFailure: with the text of the original traceback as its cause.
    """
    if PART not in parts:
        return
    said = json.loads(parts[PART])
    if "place" not in said:  # an older harness kept the fingerprint, which ends with the place
        said["place"] = said["fingerprint"].partition(" @ ")[2]
    kept = type(said["type"], (KeptFailure,), {})
    raise kept(said["message"], said["place"]) from Exception(said["traceback"])
