"""Text around a script: its docstring with versions and installation, its imports, its spaces."""

from __future__ import annotations

import platform
import re
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from harness.contract import Device
from harness.diagnosis import source_text
from harness.diagnosis.script_request import SIMPLE, ScriptRequest, stem

#: Packages that a script needs and does not import by their names.
EXTRA = frozenset({"onnxscript", "pillow"})

#: In a script whose numbers are not those of the reason above them.
OTHER_WEIGHTS = "Here the weights are the library's own random ones, so that numbers are others."

#: In a script that exports by transformers, which imports the runtime by itself.
EXPORTERS = "transformers.exporters"

#: Standard library and common packages: the text that needs each, and its import.
_IMPORTS: tuple[tuple[str, str], ...] = (
    ("copy.", "import copy"),
    ("fnmatch.", "import fnmatch"),
    ("hashlib.", "import hashlib"),
    ("inspect.", "import inspect"),
    ("math.", "import math"),
    ("signal.", "import signal"),
    ("subprocess.", "import subprocess"),
    ("sys.", "import sys"),
    ("tempfile.", "import tempfile"),
    ("Path(", "from pathlib import Path"),
    ("np.", "import numpy as np"),
    ("torch.", "import torch"),
    ("ov.", "import openvino as ov"),
    ("onnx.", "import onnx"),
    ("ort.", "import onnxruntime as ort"),
    ("qnn.", "import onnxruntime_qnn as qnn"),
    ("webgpu.", "import onnxruntime_ep_webgpu as webgpu"),
    *(
        (f"{name}(", f"from transformers.exporters import {name}")
        for name in ("OnnxExporter", "OnnxConfig", "OpenVINOExporter", "OpenVINOConfig")
    ),
    (
        "precompute_export_inputs(",
        "from transformers.exporters.utils import precompute_export_inputs",
    ),
    ("GenerationConfig(", "from transformers import GenerationConfig"),
    ("pipeline(", "from transformers import pipeline"),
)


def imports(body: str, own: Sequence[str]) -> list[str]:
    """The imports that a script's text needs, and its own ones; the standard library first."""
    wanted = [line for word, line in _IMPORTS if re.search(rf"(?<![\w.]){re.escape(word)}", body)]
    standard = [line for line in wanted if line.split()[1] in sys.stdlib_module_names]
    own_standard = [line for line in own if line.split()[1] in sys.stdlib_module_names]
    others = [line for line in wanted if line not in standard]
    others += [line for line in own if line not in own_standard]
    gap = [""] if standard or own_standard else []
    return [*standard, *own_standard, *gap, *_merged(others, body)]


def _merged(lines: Sequence[str], body: str) -> list[str]:
    """Imports with one line for each module that names are taken from, of the names in use."""
    made: dict[str, list[str]] = {}
    for line in lines:
        head, _, names = line.partition(" import ")
        used = [n for n in names.split(", ") if n and re.search(rf"\b{re.escape(n)}\b", body)]
        if used or not names:
            made.setdefault(head, []).extend(used)
    return [
        source_text.wrapped(f"{head} import ({', '.join(sorted({*names}))})").replace(")", ",)")
        if names and len(f"{head} import {', '.join(sorted({*names}))}") > source_text.WIDTH
        else f"{head} import {', '.join(sorted({*names}))}"
        if names
        else head
        for head, names in made.items()
    ]


def header(request: ScriptRequest, device: Device, needs: Sequence[str], body: str) -> str:
    """The docstring of a script: what fails, where it was seen, and how to install and run it."""
    job, failure = request.job, request.failure
    cell = job.cell
    seen = ", ".join(f"{name} {found}" for name, found in versions(device, needs).items())
    part = f"{request.about} in {cell.label}" if request.about else cell.label
    title = f"{part} on {cell.backend}, precision {cell.precision}: {failure.outcome}"
    lines = [
        *_filled(f"{title} at {failure.stage}."),
        "",
        *_filled(failure.reason.partition("; score ")[0]),
        "",
        *_filled(f"Seen on {device.name} with Python {platform.python_version()}, {seen}."),
        *([OTHER_WEIGHTS] if request.form == SIMPLE else []),
        "Exits with 1 while the fault is there, and with 0 when it is gone. Install and run:",
        "",
        f"    {install(device, needs, body)}",
        f"    python {stem(request)}.py",
    ]
    text = "\n".join(lines).replace("\\", "/").replace('"""', "'''")
    return f'"""{text}\n"""'


def _filled(text: str) -> list[str]:
    width = source_text.WIDTH
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def versions(device: Device, needs: Sequence[str]) -> dict[str, str]:
    """The versions of the packages of a script, by name on PyPI."""
    found = {}
    for name in dict.fromkeys([*device.versions, *needs]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def install(device: Device, needs: Sequence[str], body: str) -> str:
    """The command that installs the packages that a script imports, in their versions.

    Args:
        device: whose packages are meant.
        needs: further packages, by name on PyPI.
        body: the text of the script.
    """
    found = versions(device, needs)
    hidden = {*EXTRA, *(device.versions if EXPORTERS in body else ())}
    imported = [n for n in found if n in hidden or re.search(rf"\b{_module(n)}\b", body)]
    pinned = [f"{n}=={found[n].partition('+')[0]}" for n in imported]
    return f"uv pip install {' '.join(pinned)}"


def _module(package: str) -> str:
    return package.replace("-", "_")


def tidy(text: str) -> str:
    """A script with at most two blank lines in a row, and no space at the end of a line."""
    text = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{4,}", "\n\n\n", text).strip() + "\n"
