"""Defaults of functions in modeling files, capped as fields of configs are."""

from __future__ import annotations

import functools
import inspect
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from harness.contract import Entry
from harness.models import function_defaults
from harness.models.case import TinyCase

SOURCE = """
import functools

def chunked(x, scale=2.0, chunk_size=64, *, keep=True):
    return chunk_size

def other(x, chunk_size=4):
    return chunk_size

@functools.wraps(chunked)
def wrapped(*args, **kwargs):
    return chunked(*args, **kwargs)
"""


@pytest.fixture
def modeling(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file of a library's models."""
    module = ModuleType("library.models.some.modeling_some")
    exec(compile(SOURCE, "modeling_some.py", "exec"), vars(module))
    module.Layer = type("Layer", (nn.Module,), {"__module__": module.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_default_is_capped_and_the_others_stay(modeling: Any) -> None:
    function_defaults.cap(nn.Sequential(modeling.Layer()))
    assert modeling.chunked(0) == 8
    assert modeling.wrapped(0) == 8
    assert modeling.chunked.__defaults__ == (2.0, 8)
    assert modeling.other(0) == 4
    assert modeling.chunked(0, chunk_size=16) == 16


def test_functions_that_were_imported_from_elsewhere_stay(modeling: Any) -> None:
    def foreign(chunk_size: int = 64) -> int:
        return chunk_size

    modeling.foreign = functools.wraps(foreign)(lambda: foreign())
    function_defaults.cap(modeling.Layer())
    assert foreign() == 64


def test_linear_attention_carries_its_state_from_chunk_to_chunk() -> None:
    """Small models have two chunks: with less decay, the first one reaches the second."""
    from transformers.models.qwen3_next import modeling_qwen3_next as modeling

    case = TinyCase(Entry("qwen3_next", "state-space", "qwen3_next"))
    inputs = case.inputs()
    case.module()
    rule = modeling.torch_chunk_gated_delta_rule
    assert inspect.signature(rule).parameters["chunk_size"].default == 8
    q, k, v = (torch.randn(1, 16, 2, 4) for _ in range(3))
    g, beta = torch.full((1, 16, 2), -0.1), torch.full((1, 16, 2), 0.5)
    whole, _ = rule(q, k, v, g, beta, chunk_size=64)
    chunks, _ = rule(q, k, v, g, beta)
    torch.testing.assert_close(chunks, whole, rtol=1e-4, atol=1e-5)
    assert inputs["input_ids"].shape[1] == 2 * function_defaults.caps()["chunk_size"]
