"""Weights on a grid of a few bits."""

from __future__ import annotations

import pytest

from harness.models import quantized

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("name", "points"), [("int8", 256), ("int4", 16)])
def test_moves_matrices_by_half_a_step_at_most(name: str, points: int) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(32, 400)
    before = module.weight.detach().clone()
    bias = module.bias.detach().clone()
    quantized.quantize(module, name)
    width = quantized.GRIDS[name].group or 32
    groups, moved = before.reshape(-1, width), (module.weight - before).reshape(-1, width).abs()
    step = (groups.amax(1) - groups.amin(1)) / (points - 1)
    assert (moved.amax(1) <= step / 2 * 1.001).all()
    assert moved.max() > 0
    assert max(len(row.unique()) for row in module.weight.detach().reshape(-1, width)) <= points
    assert torch.equal(module.bias, bias)


def test_row_of_one_value_stays() -> None:
    module = torch.nn.Linear(16, 2)
    torch.nn.init.constant_(module.weight, 0.3)
    quantized.quantize(module, "int8")
    assert torch.equal(module.weight, torch.full((2, 16), 0.3))


def test_group_that_does_not_divide_a_row_is_the_row() -> None:
    module = torch.nn.Linear(10, 2)
    quantized.quantize(module, "int4")
    assert torch.isfinite(module.weight).all()
