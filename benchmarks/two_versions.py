"""Two versions of transformers against each other: what one saves, the other reads.

    nox -s mock -- --models smoke                             # once, for a Python with DuckDB
    .nox/mock/bin/python -m benchmarks.two_versions           # torch-cpu-legacy and torch-cpu
    .nox/mock/bin/python -m benchmarks.two_versions --old torch-cpu=4.57.6 --models encoder-only
    .nox/mock/bin/python -m benchmarks.two_versions --quick   # four models

Each version records the small checkpoints that it saves of each model, with its outputs. Then each
reads what the other has recorded: every tensor must find its place, and the outputs must be the
same. Needs uv on PATH, Linux, and the internet for packages that uv has not cached; each
environment is the pins of a backend with one version of transformers.

Exits with 1 where the newer version reads a checkpoint of the older one in another way. The older
one need not read what a newer one saves; what it does not is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.catalog import backends
from harness.contract import HarnessError
from harness.environments import swapped
from harness.toolkit.checkout import ROOT

#: The versions that are compared where none are named.
OLD, NEW = "torch-cpu-legacy", "torch-cpu"

#: Models of a quick run: of a family each.
QUICK = "bert,gpt2,t5,vit"


def interpreter(named: str) -> Path:
    """The Python of an environment with one version of transformers.

    Args:
        named: `torch-cpu-legacy` for a backend's own pins, `torch-cpu=4.57.6` for another version.

    Raises:
        HarnessError: there is no such backend, or it does not pin transformers.
    """
    backend, _, version = named.partition("=")
    spec = backends.find(backend)
    pinned = [
        line.partition("==")[2].split()[0]
        for line in spec.lock.read_text(encoding="utf-8").splitlines()
        if line.startswith("transformers==")
    ]
    if not pinned:
        raise HarnessError(
            f"expected a backend that pins transformers, found {backend!r}. Fix: name torch-cpu"
        )
    return swapped.interpreter(spec, "transformers", version or pinned[0])


def run(python: Path, file: Path, models: str, *words: str) -> int:
    """Run `python -m harness record-checkpoints` in an environment; its exit code."""
    bytecode = {"PYTHONPYCACHEPREFIX": str(python.parents[1] / "pycache")}
    command = [str(python), "-m", "harness", "record-checkpoints", models, "-o", str(file), *words]
    environment = {**os.environ, **bytecode, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two versions both ways; 1 where the newer one reads an older checkpoint otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--old", default=OLD, metavar="BACKEND[=VERSION]")
    parser.add_argument("--new", default=NEW, metavar="BACKEND[=VERSION]")
    parser.add_argument("--models", default="", help="LIST, FAMILY or NAME, ...: only these")
    parser.add_argument("--quick", action="store_true", help="four models")
    arguments = parser.parse_args(argv)
    models = QUICK if arguments.quick else arguments.models
    try:
        old, new = interpreter(arguments.old), interpreter(arguments.new)
    except HarnessError as error:
        print(f"two_versions: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        of_old, of_new = Path(folder, "old.txt"), Path(folder, "new.txt")
        if run(old, of_old, models) or run(new, of_new, models):
            return 2
        print(f"{arguments.new} reads what {arguments.old} saves:", flush=True)
        read = run(new, of_old, models, "--read")
        print(f"{arguments.old} reads what {arguments.new} saves:", flush=True)
        run(old, of_new, models, "--read")
    return read


if __name__ == "__main__":
    sys.exit(main())
