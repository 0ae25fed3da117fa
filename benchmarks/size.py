"""Sizes of models before they are loaded: how many have an answer, how fast, and how near it is.

    .nox/torch-cpu/bin/python -m benchmarks.size            # every entry: ten minutes or more
    .nox/torch-cpu/bin/python -m benchmarks.size --quick    # the smoke list, and two real models
    .nox/torch-cpu/bin/python -m benchmarks.size --models critical --length 512

For 12 models that fit, a process of its own builds the real module in float32 and runs it: its
parameters are held against those of the meta device, and the growth of its resident memory, at its
peak, against the sum that the meta device tells. Linux only: elsewhere nothing tells the peak since
a moment.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalog import model_lists
from harness.contract import Absent, Entry, HarnessError
from harness.models import eager_reference, forward_memory, libraries, model_size
from harness.toolkit import checkout
from harness.workers.settings import ENVIRONMENT

#: The largest error of the sum, as a share of the measured memory.
CLAIM = 0.10

#: Models of at most some 200 million parameters by their defaults, of different families.
REAL = (
    "bert",
    "gpt2",
    "vit",
    "whisper",
    "t5",
    "opt",
    "bart",
    "albert",
    "resnet",
    "swin",
    "clip",
    "mamba",
)
QUICK = ("vit", "whisper")

#: Tokens of a text in a real run, and in the small one before it.
REAL_LENGTH, TINY_LENGTH = 256, 16

#: glibc gives large blocks back as they are freed, so that resident memory is live memory.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@dataclass(frozen=True, slots=True)
class Answer:
    """How one entry was answered."""

    entry: str
    kind: str  # whole | no forward pass | refused | absent
    seconds: float
    reason: str = ""


def answer(entry: Entry, length: int) -> Answer:
    """Ask for the size of an entry's first model."""
    began = time.perf_counter()
    kind, reason = "whole", ""
    try:
        size = model_size.measure(entry, entry.built[0], length=length)
        if size.forward is None:
            kind, reason = "no forward pass", size.unknown
    except Absent as error:
        kind, reason = "absent", str(error)
    except HarnessError as error:
        kind, reason = "refused", str(error).partition(" found ")[2].partition(". Fix:")[0]
    return Answer(entry.name, kind, time.perf_counter() - began, reason)


def told(answers: Sequence[Answer]) -> list[str]:
    """Lines about the answers: how many of each kind, how long they took, and the reasons."""
    kinds = Counter(found.kind for found in answers)
    seconds = sorted(found.seconds for found in answers)
    slow = [found for found in answers if found.seconds > 2]
    lines = [
        f"{len(answers)} entries: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()),
        (
            f"seconds: median {seconds[len(seconds) // 2]:.2f}, "
            f"95 % below {seconds[int(len(seconds) * 0.95)]:.2f}, worst {seconds[-1]:.2f}; "
            f"{len(slow)} take more than 2"
        ),
    ]
    lines += [
        f"  {found.entry}: {found.kind}: {found.reason}"
        for found in answers
        if found.kind in {"no forward pass", "refused"}
    ]
    return lines


def real(name: str, length: int) -> dict[str, Any]:
    """The size of a model by the meta device, and by building and running it in this process."""
    entry = model_lists.load(checkout.ROOT).entries[name]
    found = model_size.measure(entry, dtype="f32", length=length)
    library = libraries.library(entry.library)
    _run(library, entry, "tiny", TINY_LENGTH)  # whatever a first pass loads is not the model's
    assert found.forward is not None, found.unknown
    before = _resident("VmRSS")
    parameters = _run(library, entry, "full", found.forward.length)
    gc.collect()
    peak = _resident("VmHWM") - before
    return {
        "parameters": (found.parameters, parameters),
        "bytes": (found.total_bytes, peak),
        "weights": found.weight_bytes + found.buffer_bytes,
    }


def _run(library: libraries.Library, entry: Entry, size: str, length: int) -> int:
    """Build a model and run it once, the peak of memory counted from the run on."""
    import torch

    with torch.no_grad():
        config = library.config(entry.architecture, entry.config, size)
        module = library.module(entry.architecture, config).eval()
        made = library.inputs(module, config, seed=0, variant="base", batch=1, length=length)
        given = eager_reference.tensors(made, torch.float32)
        options = forward_memory.options_of(module, config)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now
        module(**given, **options)
    return sum(parameter.numel() for parameter in module.parameters())


def _resident(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def compare(names: Sequence[str], length: int) -> bool:
    """Print each real model's figures; whether all keep the claim."""
    kept = True
    print(f"real models in float32, length {length}: parameters, estimated and measured memory")
    for name in names:
        command = [sys.executable, "-m", "benchmarks.size", "--real", name]
        done = subprocess.run(
            [*command, "--length", str(length)],
            capture_output=True,
            text=True,
            check=False,
            cwd=checkout.ROOT,
            env={**os.environ, **ENVIRONMENT, **ALLOCATOR},
        )
        if done.returncode:
            print(f"  {name}: no answer: {done.stderr.strip().splitlines()[-1:]}")
            kept = False
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        (told_parameters, parameters), (estimated, measured) = found["parameters"], found["bytes"]
        error = estimated / measured - 1
        rest = (estimated - found["weights"]) / 1e6, (measured - found["weights"]) / 1e6
        same = "exact" if told_parameters == parameters else f"{told_parameters} != {parameters}"
        kept = kept and told_parameters == parameters and abs(error) <= CLAIM
        print(
            f"  {name:10} {parameters:>11,} {same}  {estimated / 1e6:7.1f} MB, "
            f"{measured / 1e6:7.1f} MB: {error:+.1%}; "
            f"beside weights {rest[0]:.1f}, {rest[1]:.1f} MB"
        )
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 where a real model does not keep the claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smoke list, and two real models")
    parser.add_argument("--models", default="", help="LIST, FAMILY or NAME, ...: only these")
    parser.add_argument("--length", type=int, default=0, help="tokens of a text")
    parser.add_argument("--real", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.real:
        print(json.dumps(real(args.real, args.length)))
        return 0
    os.environ.update(ENVIRONMENT)
    entries = model_lists.load(checkout.ROOT).select(
        args.models or ("smoke" if args.quick else "all")
    )
    answers = [answer(entry, args.length or 4096) for entry in entries]
    print("\n".join(told(answers)))
    if sys.platform != "linux":
        return 0
    kept = compare(QUICK if args.quick else REAL, args.length or REAL_LENGTH)
    print(f"claim: parameters exact, memory within {CLAIM:.0%}: {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
