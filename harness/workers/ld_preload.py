"""A C file compiled into a library that comes before all others in the processes of a backend.

A backend's SDK may be slow in a function of the C library that can be had cheaper. Linux's loader
prefers what `LD_PRELOAD` names (https://man7.org/linux/man-pages/man8/ld.so.8.html).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

#: The loader's variable.
VARIABLE = "LD_PRELOAD"

#: Seconds that a compiler may take; it takes a tenth of one.
PATIENCE = 30


def library(source: Path, folder: Path) -> Path | None:
    """The compiled library, or None where it cannot be had: the processes then go without.

    Args:
        source: in C. It must change no result: whether there is a compiler is chance.
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
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None
    return built
