"""TensorFloat-32 on the CPU, and which operators it concerns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from backends.torch_cuda import backend as cuda
from harness.models import tensor_float
from harness.models.eager_reference import compute_dtype

EPS = 2.0**-10  # between 1 and the next value with 11 bits


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (1.0, 1.0),
        (1.0 + EPS, 1.0 + EPS),
        (1.0 + 0.4 * EPS, 1.0),
        (1.0 + 0.6 * EPS, 1.0 + EPS),
        (-1.0 - 0.6 * EPS, -1.0 - EPS),
        (0.0, 0.0),
        (float("inf"), float("inf")),
    ],
)
def test_a_significand_keeps_eleven_bits(value: float, want: float) -> None:
    assert tensor_float.rounded(torch.tensor([value])).item() == want


def test_nan_stays_and_integers_do() -> None:
    assert tensor_float.rounded(torch.tensor([float("nan")])).isnan().item()
    assert tensor_float.rounded(torch.tensor([3])).item() == 3


def moved(name: str, function: Callable[[], torch.Tensor]) -> float:
    with torch.no_grad():
        before = function()
        with tensor_float.rounding(name):
            after = function()
    return float((after - before).norm() / before.norm())


def test_what_is_rounded_is_what_the_format_says() -> None:
    torch.manual_seed(0)
    linear, convolution = nn.Linear(32, 32), nn.Conv2d(3, 8, 3)
    x, image = torch.randn(4, 32), torch.randn(2, 3, 8, 8)
    assert moved("float32", lambda: convolution(image)) == 0.0
    assert moved("conv-tfloat32", lambda: linear(x)) == 0.0
    for name, function in {
        "conv-tfloat32": lambda: convolution(image),
        "tfloat32": lambda: linear(x),
    }.items():
        assert 1e-5 < moved(name, function) < EPS
    assert 1e-5 < moved("tfloat32", lambda: x[None] @ x.T[None]) < EPS  # bmm


def test_a_sum_is_not_rounded() -> None:
    """The bias is added in float32: only the factors of products lose bits."""
    linear = nn.Linear(1, 1)
    nn.init.constant_(linear.weight, 0.0)
    nn.init.constant_(linear.bias, 1.0 + 2.0**-20)
    with torch.no_grad(), tensor_float.rounding("tfloat32"):
        assert linear(torch.ones(1, 1)).item() == 1.0 + 2.0**-20


def test_a_gpu_is_judged_by_what_it_rounds() -> None:
    judged = {p.name: p.dtype for p in cuda.Backend.precisions}
    assert judged["f32"] == "float32"
    assert {judged["default"], judged["tf32"]} == set(tensor_float.FORMATS)
    assert all(compute_dtype(name) is torch.float32 for name in tensor_float.FORMATS)
    assert np.finfo(np.float32).nmant - tensor_float.LOST == 10
