"""Weights and inputs follow from seed, name and shape alone, and keep activations of order 1."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Array
from harness.models import weights
from harness.toolkit import seeded_values
from harness.toolkit.seeded_values import integers, uniform

_KEY = hashlib.sha256(b"0\0layer.weight\0(999,)").digest()[:16]

shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)

# ---- the stream


@pytest.mark.parametrize(
    ("seed", "name", "shape", "steps"),
    [
        (0, "layer.weight", (2, 3), [643376, 3265920, -1675921, -4827284, 1448473, 4271861]),
        (0, "layer.weight", (6,), [5159028, 1235815, 2301885, -8369374, 1805156, -6301456]),
        (1, "layer.weight", (2, 3), [3705924, 7542915, 6855645, -8200043, -4555520, 7486349]),
    ],
)
def test_values_are_these_for_ever(
    seed: int, name: str, shape: tuple[int, ...], steps: list[int]
) -> None:
    """Another stream would make every stored result another model's."""
    found = uniform(seed, name, shape)
    assert found.dtype == np.float32
    assert found.shape == shape
    assert (found.ravel().astype(np.float64) * 2**23).tolist() == steps


@pytest.mark.parametrize("threads", ["1", "3"])
def test_parts_on_several_threads_are_the_whole(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeded_values, "LARGE", 100)
    monkeypatch.setattr(seeded_values, "BLOCK", 64)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = uniform(0, "layer.weight", (999,))
    raw = np.random.Philox(key=np.frombuffer(_KEY, "<u8")).random_raw(500).view("<u4")[:999]
    np.testing.assert_array_equal(found, (raw >> 8) / 2**23 - 1)


def test_integers_are_these_for_ever() -> None:
    assert integers(0, "ids", (8,), 3, 96).tolist() == [32, 73, 56, 70, 95, 40, 25, 55]


@given(st.integers(0, 2**63), st.text(max_size=8), shapes)
def test_values_lie_in_their_range_and_are_exact(
    seed: int, name: str, shape: tuple[int, ...]
) -> None:
    found = uniform(seed, name, shape)
    assert found.shape == shape
    assert ((found >= -1) & (found < 1)).all()
    steps = found.astype(np.float64) * 2**23
    np.testing.assert_array_equal(steps, np.round(steps))
    np.testing.assert_array_equal(found, uniform(seed, name, shape))


@given(st.integers(-50, 50), st.integers(1, 100), st.integers(0, 1000))
def test_integers_lie_in_their_range(low: int, width: int, seed: int) -> None:
    found = integers(seed, "x", (20,), low, low + width)
    assert found.dtype == np.int64
    assert ((found >= low) & (found < low + width)).all()


def test_integers_reach_both_ends() -> None:
    assert set(integers(0, "x", (200,), -1, 3).tolist()) == {-1, 0, 1, 2}


def test_seed_name_and_shape_each_count() -> None:
    base = uniform(0, "a", (4, 4))
    others = [uniform(1, "a", (4, 4)), uniform(0, "b", (4, 4)), uniform(0, "a", (16,))]
    assert all(abs(np.corrcoef(base.ravel(), o.ravel())[0, 1]) < 0.9 for o in others)
    # What stands between seed and name is no character of either.
    assert not np.array_equal(uniform(1, "1a", (4, 4)), uniform(11, "a", (4, 4)))


def test_values_are_spread_evenly() -> None:
    found = uniform(0, "many", (100_000,)).astype(np.float64)
    assert abs(found.mean()) < 0.01
    assert found.var() == pytest.approx(1 / 3, rel=0.01)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.01


# ---- a model's weights


def module(**parts: Any) -> Any:
    """A torch module with these parameters, buffers and submodules."""
    import torch

    made = torch.nn.Module()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def parameter(array: Array | float) -> Any:
    import torch

    return torch.nn.Parameter(torch.tensor(array, dtype=torch.float32))


def filled(part: Any, name: str = "part", seed: int = 0) -> Array:
    """The values that one parameter is filled with."""
    weights.fill(module(**{name: part}), seed)
    return np.asarray(part.detach().numpy())


def test_a_models_weights_follow_from_the_seed_alone() -> None:
    import torch

    def linear(seed: int) -> Array:
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        layer = torch.nn.Linear(8, 4)
        weights.fill(layer, seed)
        return np.concatenate([p.detach().numpy().ravel() for p in layer.parameters()])

    np.testing.assert_array_equal(linear(0), linear(0))
    assert not np.array_equal(linear(0), linear(1))


def test_layers_keep_activations_of_order_one() -> None:
    import torch

    layers = {
        "linear": (torch.nn.Linear(64, 32), (50, 64)),
        "conv1d": (torch.nn.Conv1d(16, 32, 5), (8, 16, 20)),
        "conv2d": (torch.nn.Conv2d(8, 16, 3), (4, 8, 12, 12)),
        "grouped": (torch.nn.Conv2d(16, 16, 3, groups=4), (4, 16, 12, 12)),
        "depthwise": (torch.nn.Conv1d(16, 16, 4, groups=16), (8, 16, 20)),
        "transposed": (torch.nn.ConvTranspose1d(16, 8, 4, stride=4), (8, 16, 20)),
        "transposed grouped": (torch.nn.ConvTranspose2d(16, 16, 2, 2, groups=4), (4, 16, 6, 6)),
    }
    for name, (layer, shape) in layers.items():
        weights.fill(layer, 0)
        x = torch.from_numpy(uniform(0, "x", shape) * np.float32(3**0.5))
        assert 0.7 < float(layer(x).detach().std()) < 1.4, name


def test_stacked_experts_and_the_other_orientation() -> None:
    import torch
    from transformers.pytorch_utils import Conv1D

    for shape in ((4, 64, 16), (4, 16, 64)):  # experts, then either way round
        experts = torch.nn.Parameter(torch.randn(shape))
        assert filled(experts).std() == pytest.approx(16**-0.5, rel=0.05)
    swapped = Conv1D(8, 64)  # (inputs, outputs), as GPT-2 has them
    weights.fill(swapped, 0)
    assert float(swapped.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.1)


def test_embeddings_have_the_order_of_activations() -> None:
    import torch

    table = torch.nn.Embedding(100, 64, padding_idx=0)
    weights.fill(table, 0)
    assert float(table.weight.detach().std()) == pytest.approx(3**-0.5, rel=0.05)


def test_what_the_library_sets_stays_near() -> None:
    ones, zeros = np.ones(64, np.float32), np.zeros(64, np.float32)
    norm = filled(parameter(ones))
    assert 0.9 <= norm.min() < norm.max() <= 1.1
    shift = filled(parameter(zeros))
    assert -0.1 <= shift.min() < 0 < shift.max() <= 0.1
    negative = filled(parameter(-2 * ones))
    assert -2.2 <= negative.min() < negative.max() <= -1.8


def test_a_layer_scale_does_not_hide_its_layer() -> None:
    tiny = np.full(64, 1e-6, np.float32)
    assert 0.26 < filled(parameter(tiny)).min() < filled(parameter(tiny)).max() < 0.34
    assert filled(parameter(-tiny)).max() < -0.26
    # A small bias stays what it is.
    assert np.abs(filled(parameter(tiny), "bias")).max() < 2e-6


def test_what_is_drawn_is_small_where_it_is_added() -> None:
    drawn = uniform(0, "drawn", (64,))
    assert 0.09 < np.abs(filled(parameter(drawn), "bias")).max() <= 0.1
    assert 0.45 < np.abs(filled(parameter(drawn), "scale")).max() <= 0.5


def test_a_matrix_that_is_born_zero_is_filled() -> None:
    assert filled(parameter(np.zeros((64, 64), np.float32))).std() == pytest.approx(1 / 8, rel=0.05)


def test_a_single_number_that_was_drawn_is_drawn_again() -> None:
    chosen = filled(parameter(np.array([2.65], np.float32)))
    assert 2.3 < float(chosen[0]) < 3.0
    drawn = filled(parameter(np.array([2.6592612], np.float32)))
    assert abs(float(drawn[0])) <= 0.5


def test_tied_weights_stay_tied_and_are_filled_once() -> None:
    import torch

    table = torch.nn.Embedding(32, 16)
    head = torch.nn.Linear(16, 32, bias=False)
    head.weight = table.weight
    tied = module(table=table, head=head)
    weights.fill(tied, 0)
    assert head.weight is table.weight
    np.testing.assert_array_equal(
        table.weight.detach().numpy(), uniform(0, "table.weight", (32, 16))
    )
    assert weights.parameter_count(tied) == 32 * 16


def test_integers_computed_buffers_and_empty_parameters_are_left_alone() -> None:
    import torch

    made = module(empty=parameter(np.zeros((0, 4), np.float32)))
    made.register_buffer("ids", torch.arange(4))
    made.register_buffer("table", torch.full((4,), 7.0))
    made.register_buffer("codebook", torch.zeros(4), persistent=False)
    made.register_buffer("inv_freq", torch.full((4,), 0.5))
    weights.fill(made, 0)
    assert made.ids.tolist() == [0, 1, 2, 3]
    assert made.table.tolist() == [7.0] * 4
    assert made.codebook.tolist() == [0.0] * 4
    assert made.inv_freq.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("A_log", 0, 2), ("dt_bias", -2, -1), ("logit_scale", 1, 1.2), ("D", 0.5, 1)],
)
def test_parameters_with_a_rule(name: str, low: float, high: float) -> None:
    found = filled(parameter(np.linspace(3, 4, 64, dtype=np.float32)), name)
    assert low <= found.min() < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < found.max() <= high


def test_a_saved_buffer_with_a_rule_is_filled() -> None:
    import torch

    made = module()
    made.register_buffer("codebook", torch.zeros(64))
    weights.fill(made, 0)
    assert float(made.codebook.std()) == pytest.approx(3**-0.5, rel=0.2)


def test_every_rule_is_complete_and_can_match() -> None:
    for rule in weights.weight_rules():
        assert isinstance(rule.pattern, re.Pattern)
        assert rule.how in {"keep", "uniform"}, rule
        assert rule.low < rule.high or rule.how == "keep", rule


def test_large_matrices_keep_what_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated normal draws until all is within bounds, which never comes where nothing is."""
    torch = pytest.importorskip("torch")
    from harness.models.unset_weights import unset

    def again(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("drawn a second time")

    large, small = torch.full((256, 256), 9.0), torch.full((4, 4), 9.0)
    skipped: set[int] = set()
    with unset(skipped):
        torch.nn.init.trunc_normal_(small)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty_like", again)
            torch.nn.init.trunc_normal_(large)
        torch.nn.init.normal_(large)
    assert skipped == {large.data_ptr()}
    assert bool((large == 9.0).all())
    assert bool((small.abs() <= 2.0).all())
    torch.nn.init.trunc_normal_(large)
    assert bool((large.abs() <= 2.0).all())
