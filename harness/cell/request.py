"""Requests to a child process: run a cell, or ask a backend for its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.contract import Cell, Device, Precision

#: The size that shrinks each architecture, and the one that leaves it whole; wide lies between.
TINY, FULL = "tiny", "full"

#: The seed of weights and inputs, where no other is asked for.
SEED = 0

#: Sets of checks, as `--checks` takes them.
DEFAULT, DEEP = "default", "deep"


@dataclass(frozen=True, slots=True)
class Job:
    """One cell to run, with everything its child process needs."""

    cell: Cell
    seed: int
    size: str  # tiny | wide | full
    backends_dir: Path
    options: Mapping[str, str] = field(default_factory=dict)
    expected_signature: str | None = None  # empty: it should be recorded, and is not
    recorded_checkpoints: tuple[str, ...] = ()  # blocks of model_lists/checkpoints.txt
    checks_library: bool = False  # whether the session looks for faults of the modeling code itself
    checks: str = DEFAULT  # or `deep`: those too that cost more than they find, most days
    checkpoints: Path | None = None  # real weights are in it, by the name of the checkpoint
    revision: str = ""  # the commit of the checkpoint in the hub's cache
    unfetched: str = ""  # why there is no checkpoint: the cell then ends at `build`
    memory_mb: int = 0  # that the cell may take; 0: what the machine has
    too_large: bool = False  # whether that is because memory does not hold the model
    trusted: bool = False  # whether modeling code in the checkpoint may run
    audited: bool = False  # whether kept references are computed again, and must be alike
    measured: bool = False  # whether its speed is measured, alone on the machine
    examples: int = 0  # how many examples of its seed failed before: the next ones are taken

    @property
    def backend_options(self) -> Mapping[str, str]:
        """The options that its backend is opened with.

        A measured cell prepares its program itself, whatever the cache holds: its numbers are of
        the runtime, and neither of a file that is read nor of one that is written.
        """
        return {**self.options, "cache": "off"} if self.measured else self.options

    @property
    def asks_code(self) -> bool:
        """Whether checks whose faults do not depend on sizes are meant too.

        A mask that the modeling code forgets is forgotten at every size. At full size, where one
        inference takes seconds, only `--checks deep` asks again.
        """
        return self.size != FULL or self.checks == DEEP

    @property
    def asks_library(self) -> bool:
        """Whether the cell looks for faults of the modeling code that no backend has a part in.

        As losses in half precision, and windows that a text of thousands of tokens leaves. Such a
        text at published widths takes minutes, and shows nothing that tiny models do not.
        """
        return self.checks_library and (self.size == TINY or self.checks == DEEP)

    def on(self, unit: str) -> Job:
        """The same cell on one of several devices."""
        return replace(self, options={**self.options, "device": unit})


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Which backend to ask for its device, and the options it is opened with."""

    backend: str
    backends_dir: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def on(self, unit: str) -> ProbeRequest:
        """The same question about one of several devices."""
        return replace(self, options={**self.options, "device": unit})


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A backend's own report of this machine: its device, and the precisions there."""

    device: Device
    precisions: tuple[Precision, ...]
