"""Session on a cluster: the connection with its nodes, and notes on them for the summary."""

from __future__ import annotations

from collections.abc import Sequence

from harness.catalog.backend_spec import BackendSpec
from harness.cluster.connection import Connection
from harness.cluster.requests import AgentSettings
from harness.cluster.schedule import Schedule
from harness.session.options import Options
from harness.toolkit.checkout import ROOT


def connection_of(spec: BackendSpec, options: Options, preload: Sequence[str]) -> Connection | None:
    """The connection with the cluster that runs the cells; None where this machine does.

    Args:
        spec: the backend's folder.
        options: of the run.
        preload: the modules that fork servers import.
    """
    if options.cluster is None:
        return None
    folder, checkpoints = spec.folder.parent, options.checkpoints
    settings = AgentSettings(
        backend=spec.name,
        backends_dir=str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder),
        options=dict(options.backend_options),
        preload=list(preload),
        seconds=options.limits.seconds,
        memory_mb=options.limits.memory_mb,
        checkpoints=str(checkpoints) if checkpoints is not None else "",
    )
    return Connection(options.cluster, spec, settings)


def cluster_notes(connection: Connection | None, schedule: Schedule | None) -> list[str]:
    """Sentences on nodes that were refused or lost, and on their cells; none without a cluster.

    Args:
        connection: of the run, where it has one.
        schedule: of its cells, once they have begun.
    """
    if connection is None:
        return []
    notes = [f"NOTE: a node was refused, {told}" for told in connection.notes.refused]
    notes += (f"NOTE: a node was lost, {told}" for told in connection.notes.lost)
    if schedule is not None and schedule.rerun:
        notes.append(
            f"NOTE: {schedule.rerun} cells were handed to other nodes after theirs was lost; "
            f"{schedule.doubled} answers came twice, of which the first counts"
        )
    return notes
