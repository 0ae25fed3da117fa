"""Options of `--weights pretrained`: which checkpoints, and what they may take up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.contract import HarnessError

#: Values of `--weights`.
SEEDED, PRETRAINED = "seeded", "pretrained"

#: The options that only mean something beside `--weights pretrained`, as pytest names them.
BESIDE = (
    "policy",
    "disk",
    "time_budget",
    "remove_downloads",
    "trust_remote_code",
    "allow_pickle",
)

#: Bytes of a GB, as `--disk` counts, and seconds of a minute.
GB, MINUTE = 1_000_000_000, 60.0


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A run with checkpoints from the hub.

    Attributes:
        policy: only the entries of the policy, and of those the ones that are not done yet.
        disk: bytes that checkpoints of this run may take up at once; None for the whole disk.
        seconds: after them no further checkpoint is begun; None for no limit.
        remove: whether what was downloaded is removed once its cells have ended.
        trusted: whether modeling code in a checkpoint may run.
        pickled: whether weights that can run code may be read where there are no safetensors.
    """

    policy: bool = False
    disk: int | None = None
    seconds: float | None = None
    remove: bool = False
    trusted: bool = False
    pickled: bool = False


def pretrained_of(given: dict[str, Any], weights: str, checkpoints: Any) -> Pretrained | None:
    """The options of `--weights pretrained`; None without it.

    Args:
        given: the values of `BESIDE`, as pytest has them.
        weights: of `--weights`.
        checkpoints: of `--checkpoints`.

    Raises:
        HarnessError: an option lacks `--weights pretrained`, or is out of its range.
    """
    if weights != PRETRAINED:
        lone = next((name for name in BESIDE if given[name]), None)
        if lone is not None:
            option = f"--{lone.replace('_', '-')}"
            raise HarnessError(
                f"expected --weights pretrained beside {option}, found none. Fix: add it"
            )
        return None
    if checkpoints is not None:
        raise HarnessError(
            "expected --weights pretrained or --checkpoints, found both. Fix: leave out either"
        )
    for name, unit in (("disk", "GB"), ("time_budget", "minutes")):
        value = given[name]
        if value is not None and not 0 < value < float("inf"):
            raise HarnessError(
                f"expected --{name.replace('_', '-')} to be above 0 {unit}, found {value}. "
                "Fix: raise it"
            )
    disk, minutes = given["disk"], given["time_budget"]
    return Pretrained(
        policy=bool(given["policy"]),
        disk=None if disk is None else int(disk * GB),
        seconds=None if minutes is None else minutes * MINUTE,
        remove=bool(given["remove_downloads"]),
        trusted=bool(given["trust_remote_code"]),
        pickled=bool(given["allow_pickle"]),
    )
