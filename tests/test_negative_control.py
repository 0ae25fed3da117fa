"""The reference is worth comparing with, and the comparison can fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.checks import negative_control, sanity
from harness.checks.negative_control import MARGIN, NOISE, TRIES, WrongReference
from harness.contract import Array, Arrays, CheckFailed, Inconclusive
from harness.toolkit import numerics

FLOOR = 1e-6
NEEDED = MARGIN * numerics.LIMIT * FLOOR


def values(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


class Responses:
    """A case whose weights move its outputs by a given factor of their own noise.

    Args:
        responses: relative error of the outputs for noise of one RMS, by weight.
    """

    def __init__(self, responses: Mapping[str, float]) -> None:
        self.responses = responses
        self.want = {"y": values(2, 8)}
        self.asked: list[tuple[str, float, str]] = []

    def weights(self) -> Sequence[str]:
        return list(self.responses)

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        self.asked.append((weight, scale, dtype))
        return {"y": self.want["y"] * (1 + self.responses[weight] * scale)}

    def wrong(self, floor: float = FLOOR, dtype: str = "float64") -> WrongReference:
        return negative_control.wrong_reference(self, {}, self.want, floor, dtype)  # type: ignore[arg-type]


# ---- determinism


def test_equal_runs_are_deterministic() -> None:
    first = {"y": values(4), "mask": np.array([1, 2]), "nan": np.array([np.nan, 1.0])}
    sanity.deterministic(first, {name: array.copy() for name, array in first.items()})


@pytest.mark.parametrize(
    "second",
    [
        {"y": np.nextafter(values(4), 9), "ids": np.arange(3)},
        {"y": values(4), "ids": np.arange(3) + 1},
        {"y": values(4)},
        {"y": values(4)[:3], "ids": np.arange(3)},
    ],
)
def test_one_bit_of_randomness_is_seen(second: Arrays) -> None:
    with pytest.raises(CheckFailed, match=r"reference: \w+ differs between two runs"):
        sanity.deterministic({"y": values(4), "ids": np.arange(3)}, second)


# ---- outputs that are worth comparing


def test_a_constant_beside_one_that_varies() -> None:
    sanity.sane({"y": values(2, 8), "constant": np.ones(4), "codes": np.arange(4)})


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_outputs_of_order_one(scale: float) -> None:
    sanity.sane({"y": scale * values(2, 8)})


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_exploded_and_collapsed_outputs(scale: float) -> None:
    expected = r"standard deviation between 0\.001 and 1000 of every output, found y"
    with pytest.raises(CheckFailed, match=expected):
        sanity.sane({"y": scale * values(2, 8)})


def test_each_output_is_of_order_one_or_spared() -> None:
    outputs = {"y": values(2, 8), "mass.0": 1e4 * values(4), "mass.1": 1e-9 * values(8)}
    with pytest.raises(CheckFailed, match=r"found mass\.0 1\.7e\+04, mass\.1 1\.3e-09;"):
        sanity.sane(outputs)
    sanity.sane(outputs, ["mass.*"])
    with pytest.raises(CheckFailed, match=r"found y "):
        sanity.sane({**outputs, "y": 1e5 * values(2, 8)}, ["mass.*"])


def test_a_few_values_may_lie_close_together() -> None:
    near = 1 + 1e-5 * np.arange(sanity.FEW)
    sanity.sane({"y": values(2, 8), "scale": near[:-1]})
    with pytest.raises(CheckFailed, match="found scale"):
        sanity.sane({"y": values(2, 8), "scale": near})
    with pytest.raises(CheckFailed, match="found scale"):
        sanity.sane({"y": values(2, 8), "scale": 1e9 * near[:-1]})


def test_nothing_comes_out() -> None:
    with pytest.raises(CheckFailed, match="returns no arrays"):
        sanity.sane({})


@pytest.mark.parametrize("array", [np.ones((2, 8)), np.zeros(4), np.array(1.5), np.ones(4, int)])
def test_constant_outputs(array: Array) -> None:
    with pytest.raises(CheckFailed, match="every output is constant or not finite: y"):
        sanity.sane({"y": array})


def test_an_output_without_a_finite_value_is_named() -> None:
    with pytest.raises(CheckFailed, match="reference: bad has no finite value"):
        sanity.sane({"y": values(2, 8), "bad": np.full(4, np.nan)})


def test_codes_alone_will_do() -> None:
    sanity.sane({"codes": np.arange(8)})
    sanity.sane({"mask": np.array([True, False])})


# ---- sensitivity to the input


def test_other_inputs_must_give_other_outputs() -> None:
    base = {"y": values(2, 8), "ids": np.arange(4)}
    sanity.sensitive(base, {"y": values(2, 8, seed=4), "ids": np.arange(4)})
    sanity.sensitive(base, {"y": base["y"], "ids": np.arange(4) + 1})
    with pytest.raises(CheckFailed, match="the model does not see them"):
        sanity.sensitive(base, dict(base))


def test_rounding_is_no_sensitivity() -> None:
    base = {"y": values(2, 8)}
    with pytest.raises(CheckFailed, match="move the outputs by 1e-06 only"):
        sanity.sensitive(base, {"y": base["y"] * (1 + 1e-6)})


# ---- one wrong weight


def test_the_first_weight_that_moves_the_model_is_taken() -> None:
    case = Responses({"dead": 0.0, "good": 1.0, "better": 9.0})
    wrong = case.wrong()
    assert (wrong.weight, wrong.scale) == ("good", NOISE)
    assert wrong.moved == pytest.approx(NOISE)
    np.testing.assert_array_equal(wrong.outputs["y"], case.want["y"] * (1 + NOISE))


def test_noise_on_a_weak_weight_grows_until_it_shows() -> None:
    wrong = Responses({"weak": 2 * NEEDED}).wrong()
    assert wrong.scale == pytest.approx(0.75)
    assert wrong.moved == pytest.approx(1.5 * NEEDED)


def test_noise_is_never_larger_than_the_weight() -> None:
    case = Responses({"weak": NEEDED / 2, "good": 1.0})
    assert case.wrong().weight == "good"
    assert max(scale for _, scale, _ in case.asked) <= 1.0


def test_the_reference_keeps_its_dtype() -> None:
    case = Responses({"weak": 1e-3})
    case.wrong(dtype="float32")
    assert {dtype for _, _, dtype in case.asked} == {"float32"}


@pytest.mark.parametrize(
    "responses",
    [{}, {"dead": 0.0}, {"faint": FLOOR}, dict.fromkeys(map(str, range(TRIES)), 0.0) | {"z": 1.0}],
)
def test_a_model_that_no_weight_moves_is_inconclusive(responses: Mapping[str, float]) -> None:
    with pytest.raises(Inconclusive, match=r"no single weight moves the outputs by 1\.5e-05"):
        Responses(responses).wrong()


def test_a_large_floor_needs_a_large_fault() -> None:
    case = Responses({"w": 2.0})
    assert case.wrong(floor=1e-7).scale < case.wrong(floor=1e-2).scale
    with pytest.raises(Inconclusive):
        case.wrong(floor=0.5)


# ---- the check itself


def wrong_by(error: float, scale: float = NOISE) -> tuple[Arrays, WrongReference]:
    """Right outputs, and a wrong reference at a relative distance of `error`."""
    want = values(2, 8)
    return {"y": want}, WrongReference({"y": want * (1 + error)}, "w", scale, error)


def test_right_outputs_must_not_match_the_wrong_reference() -> None:
    got, wrong = wrong_by(1e-3)
    limit = negative_control.must_fail(got, wrong, FLOOR, 0.0)
    assert limit == pytest.approx(NOISE * numerics.LIMIT * FLOOR / 1e-3)


def test_the_detection_limit_is_where_the_check_turns() -> None:
    got, wrong = wrong_by(1e-3)
    limit = negative_control.must_fail(got, wrong, FLOOR, 0.0)
    for times, is_seen in ((1.1, True), (0.9, False)):
        error = wrong.moved * limit * times / wrong.scale
        _, other = wrong_by(error)
        found = numerics.difference(got, other.outputs)
        assert numerics.is_wrong(found, FLOOR) is is_seen


def test_a_check_that_cannot_fail_is_our_fault() -> None:
    got, wrong = wrong_by(1e-3)
    with pytest.raises(CheckFailed, match="a check that cannot fail is a fault of the harness"):
        negative_control.must_fail(got, wrong, 1.0, 0.0)


def test_a_judgement_that_always_passes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    got, wrong = wrong_by(1.0)
    monkeypatch.setattr(numerics, "is_wrong", lambda *_: False)
    with pytest.raises(CheckFailed, match=r"control: 0\.01 of noise on w"):
        negative_control.must_fail(got, wrong, FLOOR, 0.0)


def test_a_backend_that_computes_the_wrong_weights_result_is_found_out() -> None:
    _, wrong = wrong_by(1e-3)
    with pytest.raises(CheckFailed, match="yet the check passes"):
        negative_control.must_fail(wrong.outputs, wrong, FLOOR, 0.0)
