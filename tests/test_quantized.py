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


def test_a_4_bit_float_in_units_of_its_groups_power_of_two() -> None:
    module = torch.nn.Linear(32, 1)
    values = torch.zeros(32)
    values[:8] = torch.tensor([6.0, 4.9, -2.4, 1.3, 0.2, -0.3, 0.0, 7.0]) * 2.0**-5
    with torch.no_grad():
        module.weight.copy_(values[None])
    quantized.quantize(module, "mxfp4")
    want = torch.tensor([6.0, 4.0, -2.0, 1.5, 0.0, -0.5, 0.0, 6.0]) * 2.0**-5
    assert torch.equal(module.weight[0, :8], want)
    assert not module.weight[0, 8:].any()


def test_a_group_of_zeros_stays() -> None:
    module = torch.nn.Linear(64, 2)
    torch.nn.init.zeros_(module.weight)
    quantized.quantize(module, "mxfp4")
    assert not module.weight.any()


def test_every_group_of_a_row_has_a_scale_of_its_own() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(64, 8)
    before = module.weight.detach().clone()
    quantized.quantize(module, "mxfp4")
    for moved, group in zip(
        (module.weight.detach() - before).reshape(-1, 32), before.reshape(-1, 32), strict=True
    ):
        unit = torch.exp2(group.abs().max().log2().floor() - 2)
        assert moved.abs().max() <= 2 * unit * 1.001  # between 6 and what lies below 8
        inside = group.abs() <= 6 * unit
        assert moved.abs()[inside].max() <= unit * 1.001
