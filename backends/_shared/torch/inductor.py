"""`torch.compile` with inductor: one compilation a process, with precompiled headers shared.

Importing this imports inductor, which takes seconds: `backend.toml` has the fork server do it
where a precision compiles.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.contract import Unsupported

#: Compilers for the CPU as messages of PyTorch name them, in the order of PyTorch's search.
COMPILERS = ("c++", "g++", "clang++", "cl", "icpx")


def import_inductor(folder: Path) -> None:
    """Import inductor, which then keeps PyTorch's compiled headers in a folder for all processes.

    Inductor chooses the folder of headers as it is imported, by the process's temporary folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        importlib.import_module("torch._inductor.compile_fx")
    finally:
        tempfile.tempdir = own


def _stay_in_process() -> None:
    """Let inductor compile here, and not in as many processes again as the machine has cores.

    The variable is read as inductor's config is imported, which `torch._dynamo` has done by now.
    """
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        import torch._inductor.config as inductor

        inductor.compile_threads = 1


_stay_in_process()
import_inductor(Path(sys.prefix, "torchinductor"))


def compiled(module: Any, *, seeded: bool) -> Any:
    """The module through `torch.compile`, after dynamo has forgotten earlier compilations.

    Args:
        module: a `torch.nn.Module`.
        seeded: whether it draws random numbers, which are then those that eager execution draws.

    Raises:
        Unsupported: there is no C++ compiler.
    """
    import torch._dynamo
    import torch._inductor.config as inductor

    chosen = os.environ.get("CXX")
    if not any(map(shutil.which, [chosen] if chosen else COMPILERS)):
        raise Unsupported(
            f"torch.compile needs a C++ compiler, and none of {chosen or ', '.join(COMPILERS)} is "
            "on PATH. Fix: apt-get install g++, xcode-select --install, or set CXX"
        )
    # Kernels go with the process: one that is killed leaves half a library behind, which would
    # crash the next that finds it.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(tempfile.gettempdir(), "torchinductor"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    inductor.fallback_random = seeded
    return torch.compile(module)


def graphs() -> tuple[int, int]:
    """Numbers of graphs and of graph breaks since `compiled`."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
