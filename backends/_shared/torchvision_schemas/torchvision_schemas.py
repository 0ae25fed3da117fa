"""Schemas of two operators of torchvision, defined where its compiled library cannot be loaded.

The wheel on PyPI is linked against CUDA. Beside a CPU build of PyTorch it goes without its library,
but for two operators that it registers shapes for, unguarded: `import torchvision` ends with
`operator torchvision::nms does not exist`. With their schemas known, it works, and calling one of
them raises PyTorch's own error: there is no kernel. A torchvision of the same build as PyTorch, as
PyTorch's own wheel index has it, is left as it is.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

#: The operators that `torchvision/_meta_registrations.py` takes for granted.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

#: Library objects: a schema is gone with the object that defined it.
_LIBRARIES: list[Any] = []


def built_for_cuda(folder: Path) -> bool:
    """Whether an installed torchvision was built for CUDA, by what its `version.py` says."""
    version = folder / "version.py"
    text = version.read_text(encoding="utf-8") if version.is_file() else ""
    return re.search(r"^__version__ = '[^'+]*\+cu\d+'", text, re.MULTILINE) is not None


def define() -> None:
    """Define the schemas where torchvision was built for CUDA and PyTorch was not."""
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or torch.version.cuda is not None:
        return
    if built_for_cuda(Path(found.origin).parent):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in SCHEMAS:
            library.define(schema)
        _LIBRARIES.append(library)
