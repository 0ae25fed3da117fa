"""Outputs of a model as named arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness.models.outputs import flatten


def test_a_bare_tensor_is_called_output() -> None:
    import torch

    found = flatten(torch.arange(4.0))
    assert list(found) == ["output"]
    np.testing.assert_array_equal(found["output"], [0, 1, 2, 3])


def test_nested_outputs_have_the_names_of_their_places() -> None:
    import torch

    x = torch.zeros(1)
    found = flatten({"logits": x, "hidden_states": (x, [x, x]), "text": {"pooled": x}})
    assert list(found) == [
        "logits", "hidden_states.0", "hidden_states.1.0", "hidden_states.1.1", "text.pooled"
    ]  # fmt: skip
    assert list(flatten((x, x))) == ["0", "1"]


def test_a_model_output_of_transformers() -> None:
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    made = BaseModelOutputWithPooling(
        last_hidden_state=torch.ones(1, 2), attentions=(torch.ones(1),), pooler_output=None
    )
    assert list(flatten(made)) == ["last_hidden_state"]


@pytest.mark.parametrize(
    "name", ["past_key_values", "cache_params", "attentions", "cross_attentions", "state"]
)
def test_caches_and_attention_weights_are_left_out(name: str) -> None:
    import torch

    x = torch.zeros(1)
    assert list(flatten({"y": x, name: (x, x)})) == ["y"]
    assert list(flatten({"decoder": {"y": x, name: x}})) == ["decoder.y"]


def test_what_is_no_tensor_is_left_out() -> None:
    @dataclass
    class Cache:
        keys: Any

    assert flatten({"none": None, "count": 3, "cache": Cache(1), "name": "x"}) == {}
    assert flatten(None) == {}


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("float64", "float64"), ("float32", "float32"), ("float16", "float32"),
        ("bfloat16", "float32"), ("int64", "int64"), ("bool", "bool"),
    ],
)  # fmt: skip
def test_dtypes_that_numpy_has(dtype: str, wanted: str) -> None:
    import torch

    found = flatten(torch.ones(2, 2, dtype=getattr(torch, dtype)))["output"]
    assert found.dtype.name == wanted
    np.testing.assert_array_equal(found, np.ones((2, 2)))


def test_complex_numbers_are_pairs() -> None:
    import torch

    found = flatten(torch.tensor([1 + 2j]))["output"]
    np.testing.assert_array_equal(found, [[1, 2]])


def test_gradients_and_strides_are_no_matter() -> None:
    import torch

    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(flatten(weight.T)["output"], [[0, 3], [1, 4], [2, 5]])


def test_arrays_do_not_change_with_the_model() -> None:
    import torch

    weight = torch.nn.Parameter(torch.ones(2))
    found = flatten({"query": weight})
    with torch.no_grad():
        weight.zero_()
    np.testing.assert_array_equal(found["query"], [1, 1])
