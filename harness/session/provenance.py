"""Provenance of a run: device, versions, pins, git commit, host and options, for its results."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from harness.catalog.backend_spec import BackendSpec
from harness.contract import Device, RunInfo
from harness.session.options import Options
from harness.toolkit.checkout import DIRTY, INSTALLED, git_commit
from harness.toolkit.printable import kept_name
from harness.toolkit.version import DISTRIBUTION, identity
from harness.workers.settings import cores


def run_info(
    run_id: str, spec: BackendSpec, device: Device, options: Options, host: str = ""
) -> RunInfo:
    """The row of a run that begins now; `host` is empty where that is this machine."""
    here = f"{platform.node()} ({platform.system()} {platform.machine()}, {cores()} cores)"
    driver = f", {device.driver}" if device.driver else ""
    return RunInfo(
        run_id=run_id,
        backend=spec.name,
        started_at=datetime.now(UTC).isoformat(),
        device=kept_name(f"{device.name} ({device.kind}{driver})"),
        emulated=device.emulated,
        versions={
            "python": platform.python_version(),
            **({DISTRIBUTION: identity()} if INSTALLED else {}),
            **{kept_name(name): kept_name(version) for name, version in device.versions.items()},
        },
        lock_sha256=lock_of(spec, options.instead),
        git_commit=git_commit(),
        host=kept_name(host or here),
        arguments=options.arguments,
        seed=options.seed,
        faults=options.backend_options.get("fault", ""),
        size=options.size_of_models,
    )


def lock_of(spec: BackendSpec, instead: Sequence[str] = ()) -> str:
    """The SHA-256 of a backend's pins; empty without such a file.

    Args:
        spec: the backend's.
        instead: requirements that the environment has in place of some pins.
    """
    try:
        pins = spec.lock.read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(pins + "".join(f"\n{text}" for text in instead).encode()).hexdigest()


def is_same_harness(commit: str, versions: Mapping[str, str]) -> bool:
    """Whether a run was of this very harness, whose checkout had no changes.

    Args:
        commit: of the run.
        versions: of the run's packages, by name.
    """
    if INSTALLED:
        return versions.get(DISTRIBUTION) == kept_name(identity())
    now = git_commit()
    return bool(now) and now == commit and not now.endswith(DIRTY)
