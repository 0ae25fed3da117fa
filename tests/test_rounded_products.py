"""TensorFloat-32 and 8-bit floats on the CPU, and which operators they concern."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from backends.torch_cuda import backend as cuda
from harness.contract import DTYPES
from harness.models import rounded_products
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
    assert rounded_products.rounded(torch.tensor([value])).item() == want


def test_nan_stays_and_integers_do() -> None:
    assert rounded_products.rounded(torch.tensor([float("nan")])).isnan().item()
    assert rounded_products.rounded(torch.tensor([3])).item() == 3


def moved(name: str, function: Callable[[], torch.Tensor]) -> float:
    with torch.no_grad():
        before = function()
        with rounded_products.rounding(name):
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
    with torch.no_grad(), rounded_products.rounding("tfloat32"):
        assert linear(torch.ones(1, 1)).item() == 1.0 + 2.0**-20


def test_a_gpu_is_judged_by_what_it_rounds() -> None:
    judged = {p.name: p.dtype for p in cuda.Backend.precisions}
    assert judged["f32"] == "float32"
    assert {judged["default"], judged["tf32"]} == {"conv-tfloat32", "tfloat32"}
    assert rounded_products.FORMATS.keys() < set(DTYPES)
    assert all(compute_dtype(name) is torch.float32 for name in rounded_products.FORMATS)
    assert np.finfo(np.float32).nmant - rounded_products.LOST == 10


@pytest.mark.parametrize(("name", "step"), [("float8_e4m3fn", 2.0**-3), ("float8_e5m2", 2.0**-2)])
def test_an_8_bit_float_keeps_a_few_bits_and_the_largest_value(name: str, step: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(1000)
    made = rounded_products.scaled_to_float8(x, name)
    assert made.abs().max() == x.abs().max()
    normal = x.abs() > 1e-3  # smaller ones may be subnormal in e4m3fn
    off = ((made - x) / x).abs()[normal]
    assert step / 4 < off.max() <= step / 2 * 1.0001
    special = torch.tensor([float("nan"), float("inf"), 1.0])
    kept = rounded_products.scaled_to_float8(special, name)
    assert kept[0].isnan()
    assert kept[1:].tolist() == [float("inf"), 1.0]
    zeros = torch.zeros(3)
    assert torch.equal(rounded_products.scaled_to_float8(zeros, name), zeros)
    assert rounded_products.scaled_to_float8(torch.tensor([3]), name).item() == 3


@pytest.mark.parametrize(("name", "least"), [("float8_e4m3fn", 0.01), ("float8_e5m2", 0.02)])
def test_products_of_8_bit_floats(name: str, least: float) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(32, 32), torch.randn(4, 32)
    assert least < moved(name, lambda: linear(x)) < 0.1
