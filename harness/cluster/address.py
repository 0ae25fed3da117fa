"""Address of a cluster, as `--cluster` takes it, and the options of a session on one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.contract import HarnessError

#: The most nodes of a cluster on this machine.
MOST = 64

#: Forms of a scheduler's address, as the engine takes it.
SCHEDULER = re.compile(r"(?:(?:tcp|tls|ucx|ws|wss)://)?[\w.\[\]:-]+:\d{1,5}")

#: A cluster of so many nodes on this machine.
LOCAL = re.compile(r"local:(\d{1,3})")


@dataclass(frozen=True, slots=True)
class Address:
    """A scheduler's address or file; or `local:N`, N nodes on this machine, for a try."""

    text: str
    nodes: int = 0  # of a cluster on this machine; 0: it is elsewhere

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The cluster of a session, and how many cells run at once on each node; 0: its threads."""

    address: Address
    slots: int = 0


def address_of(text: str) -> Address:
    """The address that `--cluster` names.

    Raises:
        HarnessError: it is of none of the forms.
    """
    local = LOCAL.fullmatch(text)
    if local is not None and 1 <= int(local[1]) <= MOST:
        return Address(text, int(local[1]))
    if text.endswith(".json"):
        return Address(str(Path(text).resolve()))
    if SCHEDULER.fullmatch(text) and not text.startswith("local:"):
        return Address(text)
    raise HarnessError(
        "expected --cluster to be a scheduler's address as `dask scheduler` prints it, as in "
        "tcp://10.0.0.1:8786, a scheduler file as in scheduler.json, or local:N with N nodes on "
        f"this machine, at most {MOST}, found {text!r}. Fix: write it so"
    )
