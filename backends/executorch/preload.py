"""Preloading for the fork server: the imports, patterns and tables of a lowering to XNNPACK."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings

import torch
import torch._export.utils
import transformers.exporters.runners.runner_executorch  # noqa: F401
from executorch.backends.xnnpack.partition.graphs import bilinear_2d
from transformers.exporters.exporter_executorch import ExecutorchConfig, ExecutorchExporter


def _warm() -> None:
    """Lower one layer, and make the patterns that a process's first lowering makes."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        bilinear_2d.get_graphs_dict()
        given = {"input": torch.zeros(1, 4)}
        ExecutorchExporter().export(torch.nn.Linear(4, 4).eval(), given, ExecutorchConfig())


# PyTorch asks its dispatcher for all composite operators anew for each table of decompositions.
# Nothing registers an operator after the first lowering.
_utils = torch._export.utils
_utils._materialize_cpp_cia_ops = functools.cache(_utils._materialize_cpp_cia_ops)
_warm()
