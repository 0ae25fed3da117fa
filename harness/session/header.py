"""Header of a run: backend, device, size and limits, before the first cell."""

from __future__ import annotations

from collections.abc import Sequence

from harness.catalog.hub.download import gigabytes
from harness.cell.request import DEFAULT
from harness.contract import Cell
from harness.session import checkpoint_plan
from harness.session.run import Run
from harness.session.time_limits import FACTOR
from harness.toolkit import printable
from harness.toolkit.checkout import shown_path


def header(run: Run, cells: Sequence[Cell]) -> list[str]:
    """The lines of the header, for the cells that are about to run."""
    options, settings = run.options, run.settings
    lines = [f"backend: {run.spec.name}, {run.spec.title}"]
    if run.device is not None:
        device = run.device.device
        versions = ", ".join(f"{name} {version}" for name, version in device.versions.items())
        emulated = ", EMULATED: no hardware result" if device.emulated else ""
        versions = f"; {printable.line(versions)}" if versions else ""
        name = printable.line(f"{device.name} ({device.kind}")
        lines.append(f"device: {name}{emulated}){versions}")
    if run.cluster is not None and run.device is not None:
        lines.append(f"cluster: {run.cluster.host()}")
        lines += (f"cluster: refused {told}" for told in run.cluster.notes.refused)
    if run.fallback:
        lines.append(
            f"fallback: {run.fallback} stands in for the missing device; every row is marked so, "
            f"and none counts for {run.spec.name}"
        )
    if run.faults:
        lines.append(f"faults: {run.faults} injected; the run is marked so, and counts nowhere")
    if options.instead:
        lines.append(
            f"with: {', '.join(options.instead)} in place of the pins; signatures are not compared"
        )
    if run.absence is not None:
        lines.append(f"device: none. {run.absence}")
    entries = len({cell.entry.name for cell in cells})
    precisions = list(dict.fromkeys(cell.precision for cell in cells))
    threads = "thread" if settings.threads == 1 else "threads"
    size = f"precision {', '.join(precisions) or 'none'}, size {options.size_of_models}, "
    size += f"seed {options.seed}"
    size += f", checks {options.checks}" if options.checks != DEFAULT else ""
    at_once = f"{settings.workers} at once with {settings.threads} {threads}"
    if run.cluster is not None:
        at_once = f"{settings.workers} at once on all nodes"
    limits = f"{settings.limits.seconds:g} s and {settings.limits.memory_mb} MB for each"
    limits += "".join(
        f", {settings.limits.with_patience(patience).seconds:g} s in {name}"
        for name, patience in run.patience().items()
        if patience != 1.0 and name in precisions
    )
    lines.append(f"entries: {entries} of {len(run.catalog.entries)}, {size}")
    again = f"; what fails is run again, {options.repeat} times at most" if options.repeat else ""
    limits += f", at first {FACTOR:g} times what it took before" if options.own_limits else ""
    lines.append(f"cells: {len(cells)}, {at_once}, {limits}{again}")
    if options.shard != (1, 1):
        lines.append(shard_line(run))
    if options.pretrained is not None:
        lines.append(weights_line(run))
    if options.measure:
        lines.append(
            "measure: one cell at a time, after its checks; let nothing else run on this machine"
        )
    warnings = [*run.expectations.warnings, *filter(None, [run.cache.obstacle()])]
    lines += (f"warning: {warning}" for warning in warnings)
    return [printable.line(line, printable.KEPT_LINE) for line in lines]


def shard_line(run: Run) -> str:
    """The line about the shard: its part of the entries, and what the split follows from."""
    shard = "{}/{}".format(*run.options.shard)
    chosen, file = run.chosen, run.chosen.durations
    line = f"shard: {shard}, {len(chosen.of_shard)} of {len(chosen.named)} entries, split by "
    if file is None:
        return f"{line}count"
    if not file.seconds:
        return f"{line}count: {shown_path(file.path)} holds no durations of {run.spec.name}"
    return f"{line}{shown_path(file.path)}, which has to be {file.digest} in every shard"


def weights_line(run: Run) -> str:
    """The line about checkpoints: how many there are, their bytes, and what was done before."""
    cache = checkpoint_plan.cache_folder()
    found = [item.repository for item in run.supply.planned if item.repository is not None]
    missing = sum(file.size for repository in found for file in repository.missing(cache))
    size = gigabytes(sum(repository.size for repository in found))
    noun = "checkpoint" if len(found) == 1 else "checkpoints"
    line = f"weights: {len(found)} {noun} of the hub, {size}, {gigabytes(missing)} to download"
    problems = sum(bool(item.problem) for item in run.supply.planned)
    line += f"; {problems} that cannot be had" if problems else ""
    if run.supply.done_before:
        entries = len({cell.entry.name for cell in run.supply.done_before})
        line += f"; {entries} entries of the policy have run before with these pins"
    return line
