"""LD_PRELOAD shim: a C file of a backend, compiled to replace functions of the C library.

A backend's SDK may be slow because of such a function, as QNN's emulator is because of `pow`. On
Linux, the loader takes functions from the library that `LD_PRELOAD` names before all others
(https://man7.org/linux/man-pages/man8/ld.so.8.html).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.workers.run_folder import new_folder

#: Environment variable of the loader: the libraries that come first.
VARIABLE = "LD_PRELOAD"

#: Seconds that a compiler may take. `backends/qnn/powers_of_two.c` takes a tenth of one.
COMPILE_SECONDS = 30


def compile_shim(source: Path, folder: Path) -> Path | None:
    """Compile a shim; None where that is not possible, and processes then run without it.

    Args:
        source: in C. It must change no result, since not every machine has a compiler.
        folder: where the library is written.

    Returns:
        The path of a shared library in `folder`; None on another system than Linux, without a C
        compiler (`$CC`, or `cc`), or where that fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or not compiler or shutil.which(compiler[0]) is None:
        return None
    built = folder / f"{source.stem}.so"
    command = [*compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(built), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return built


def shim_variables(spec: BackendSpec) -> dict[str, str]:
    """The environment variable that has a backend's shim loaded; none where it has no shim.

    Raises:
        HarnessError: there is no room for the compiled shim.
    """
    if not spec.interpose:
        return {}
    shim = compile_shim(spec.folder / spec.interpose, new_folder())
    return {VARIABLE: str(shim)} if shim else {}
