"""Share of planted faults whose submodule and operator `localise` names.

    .nox/torch-cpu/bin/python -m benchmarks.localise_faults            # 240 faults
    .nox/torch-cpu/bin/python -m benchmarks.localise_faults --quick    # 3 in each of two

In each of twelve architectures, one a family, operators are drawn over all depths. Each is made
wrong once on a fake compiled backend, which interprets a trace, and once in eager PyTorch
(`tests/fakes/planted`). A fault that moves no output of the model is not counted: another is drawn.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.catalog import backends, model_lists
from harness.cell.request import Job
from harness.contract import Cell, Culprit, Stage
from harness.diagnosis.localise import localise
from harness.diagnosis.request import LocaliseRequest
from harness.models.case import TinyCase
from harness.toolkit.checkout import ROOT
from harness.toolkit.printable import show
from harness.toolkit.text_table import plain_table
from harness.workers import fork_server
from harness.workers.task_endings import task_endings

#: Shares of the planted faults that must be named.
MODULES, OPERATORS = 0.95, 0.85

#: One architecture a family; RAG's is that of its parts.
ENTRIES = (
    "bert",
    "gpt2",
    "t5",
    "convnext",
    "vision_encoder_decoder",
    "wav2vec2",
    "clip",
    "dit",
    "mixtral",
    "mamba",
    "patchtst",
    "decision_transformer",
)

#: Faults in each architecture on each kind of backend.
EACH, QUICK = 10, 3

#: Faults drawn at most for each that counts.
DRAWS = 4

#: Precisions of the fake backend.
KINDS = ("default", "eager")

#: The fake backends of the tests.
FAKES = ROOT / "tests" / "fakes"

#: Seconds for the faults of one architecture on one kind of backend.
SECONDS = 1800.0


def planted(drawing: Job, report: Callable[[Stage], None]) -> list[dict[str, Any]]:
    """The faults of one architecture, each with the part that is named; runs in a child.

    Args:
        drawing: the cell; how many faults to plant is an option, the seed is that of the draw.
        report: called with each stage before it is entered.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from fakes.planted.planted import places

    report(Stage.BUILD)
    cell, count = drawing.cell, int(drawing.options["count"])
    drawn = places(TinyCase(cell.entry))
    random.Random(drawing.seed).shuffle(drawn)
    found: list[dict[str, Any]] = []
    for place in drawn[: DRAWS * count]:
        if len(found) == count:
            break
        fault = {"planted": f"wrong/{place.operator}/{place.key}"}
        job = replace(drawing, seed=0, options=fault)
        with tempfile.TemporaryDirectory() as folder:
            asked = LocaliseRequest(job, Path(folder, "journal.jsonl"), "base")
            culprit = localise(asked, report)
        if not culprit.found and "right" in culprit.evidence:
            continue
        found.append(_judged(asdict(place), culprit))
    return found


def _judged(place: dict[str, Any], culprit: Culprit) -> dict[str, Any]:
    named = culprit.operator.partition(" after ")[0]
    return {
        **place,
        "named": culprit.line,
        "module_right": culprit.found and culprit.module == place["module"],
        "operator_right": named == place["operator"],
        "prepares": culprit.prepares,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the shares by architecture, and each miss; 1 where a share is too small."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few faults in two architectures")
    parser.add_argument("--models", default=",".join(ENTRIES), help="entries, in a list")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    args = parser.parse_args(argv)
    entries = model_lists.load().entries
    names = args.models.split(",")[: 2 if args.quick else None]
    count = str(QUICK if args.quick else EACH)
    requests = {
        f"{name} {kind}": Job(
            Cell(entries[name], "planted", kind), args.seed, "tiny", FAKES, {"count": count}
        )
        for name in names
        for kind in KINDS
    }
    spec = backends.find("planted", FAKES)
    endings = task_endings(spec, "benchmarks.localise_faults:planted", requests, SECONDS)
    fork_server.end_session()
    rows = [["architecture", "faults", "module", "operator"]]
    every: list[dict[str, Any]] = []
    for name, ending in endings.items():
        found = ending.value if isinstance(ending.value, list) else []
        if not found:
            show(f"{name}: {ending.reason or 'no fault moved its outputs'}")
        every += found
        modules, operators = (sum(one[k] for one in found) for k in _RIGHT)
        rows.append([name, str(len(found)), str(modules), str(operators)])
        for one in found:
            if not all(one[key] for key in _RIGHT):
                show(f"{name}: {one['operator']} in {one['module'] or 'the model'}: {one['named']}")
    show("\n".join(plain_table(rows, numbers=True)))
    shares = [sum(one[key] for one in every) / max(1, len(every)) for key in _RIGHT]
    show(
        f"{len(every)} faults: {shares[0]:.1%} of the submodules named ({MODULES:.0%} wanted), "
        f"{shares[1]:.1%} of the operators ({OPERATORS:.0%} wanted)"
    )
    return int(not every or shares[0] < MODULES or shares[1] < OPERATORS)


_RIGHT = ("module_right", "operator_right")


if __name__ == "__main__":
    sys.exit(main())
