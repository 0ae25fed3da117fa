"""Backend specification: a backend's folder and what its `backend.toml` says, without its SDK."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.contract import Unavailable
from harness.toolkit import typed_commands
from harness.toolkit.checkout import INSTALLED, ROOT, shown_path

#: Where the backends of this repository are.
BACKENDS = ROOT / "backends"

#: Operating systems that a backend can be for, as `sys.platform` names them.
PLATFORMS = ("linux", "darwin", "win32")


@dataclass(frozen=True, slots=True)
class Hardware:
    """A cheap hint at whether a machine has the hardware, without importing an SDK.

    One of `paths` (globs) exists, or the machine is `platform` (`sys.platform`-`machine`).
    """

    paths: tuple[str, ...] = ()
    platform: str = ""
    found: str = ""
    fix: str = ""
    kinds: tuple[str, ...] = ()  # of `harness.toolkit.hardware.Part`

    def present(self) -> bool:
        """Whether this machine seems to have it."""
        here = f"{sys.platform}-{platform.machine().lower()}"
        if self.platform and self.platform == here:
            return True
        return any(_exists(pattern) for pattern in self.paths)


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend's folder and what its `backend.toml` says, key by key as `KEYS` describes it."""

    folder: Path
    title: str
    contract: int = 0  # `harness.contract.VERSION` that it is written for; 0: it does not say
    torch_backend: str = ""
    python: tuple[str, ...] = ()
    platforms: tuple[str, ...] = PLATFORMS
    start_method: str = "forkserver"
    worker: str = "cell"
    environment: Mapping[str, str] = field(default_factory=dict)
    interpose: str = ""  # `harness.workers.ld_preload`
    preload: tuple[str, ...] = ()
    preload_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    snapshot: bool = False
    checkpoints: bool = False
    faults: tuple[str, ...] = ()
    models: str = ""
    heads: str = "all"
    resource: str = ""  # that a node of a cluster must offer
    resource_for: Mapping[str, str] = field(default_factory=dict)  # the same, by `--device`
    hardware: Hardware | None = None

    @property
    def name(self) -> str:
        """The session's name: `torch-cpu` for the folder `torch_cpu`."""
        return session_name(self.folder.name)

    def needed_resource(self, device: str) -> str:
        """The resource that a node of a cluster must offer; empty where any node will do.

        Args:
            device: as `--device` names it; empty for the backend's usual one.
        """
        return self.resource_for.get(device, self.resource)

    @property
    def above(self) -> Path:
        """The folder that must be on the module path, for `package` to be imported."""
        return self._place[0]

    @property
    def package(self) -> str:
        """The dotted name that its folder has as a package: `backends.torch_cpu`."""
        return self._place[1]

    @property
    def search_path(self) -> tuple[Path, ...]:
        """The folder above, where processes would not look for modules by themselves."""
        return () if str(self.above) in sys.path else (self.above,)

    @property
    def _place(self) -> tuple[Path, str]:
        """Module path and name: upwards, as far as folders have an `__init__.py`.

        A folder that has none is one of a namespace package, which the folder above is.
        """
        parts, above = [self.folder.name], self.folder.parent
        if not (self.folder / "__init__.py").is_file():
            parts, above = [above.name, *parts], above.parent
        while (above / "__init__.py").is_file():
            parts, above = [above.name, *parts], above.parent
        return above, ".".join(parts)

    @property
    def expectations(self) -> Path:
        """Its `expectations.toml`."""
        return self.folder / "expectations.toml"

    @property
    def lock(self) -> Path:
        """Its compiled pins."""
        return self.folder / "requirements.txt"

    @property
    def install(self) -> str:
        """The commands that install what it needs; without pins, the one that compiles them."""
        if not self.lock.is_file():
            return f"`nox -s lock -- {self.name}`, which writes {shown_path(self.lock)}"
        pip = f"`python -m pip install -r {shown_path(self.lock)}`"
        ours = not INSTALLED and self.folder.parent == BACKENDS
        started = INSTALLED and typed_commands.by_nox()
        return f"`nox -s {self.name}`, or {pip}" if ours or started else pip

    def missing_platform(self) -> Unavailable | None:
        """Why its packages can't be on this machine at all."""
        if sys.platform in self.platforms:
            return None
        return Unavailable(
            f"{self.title} runs on {', '.join(self.platforms)}, and this is {sys.platform}.",
            f"run it on {' or '.join(self.platforms)}.",
        )

    def missing_hardware(self) -> Unavailable | None:
        """Why this machine can't have the device, as far as that is seen without the SDK."""
        elsewhere = self.missing_platform()
        if elsewhere is not None:
            return elsewhere
        if self.hardware is not None and not self.hardware.present():
            found = self.hardware.found or "its hardware"
            return Unavailable(
                f"{self.title} needs {found}, and this machine shows none "
                f"({', '.join(self.hardware.paths) or self.hardware.platform}).",
                self.hardware.fix or "run it on a machine that has it.",
            )
        return None


def session_name(folder: str) -> str:
    """`torch-cpu` for `torch_cpu`."""
    return folder.replace("_", "-")


def _exists(pattern: str) -> bool:
    path = Path(pattern)
    return any(True for _ in Path(path.anchor).glob(str(path.relative_to(path.anchor))))
