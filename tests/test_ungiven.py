"""Arguments of forward that no example has: which values are tried, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from function_backend import Runner
from language_backend import LanguageBackend, LanguageCase

from harness.checks import ungiven as check
from harness.contract import Arrays
from harness.inputs import ungiven
from harness.inputs.ungiven import Ungiven

BASE: Arrays = {
    "input_ids": np.ones((2, 6), dtype=np.int64),
    "decoder_input_ids": np.ones((2, 4), dtype=np.int64),
    "states": np.ones((2, 5, 3), dtype=np.float32),
}


def tried(forward: Callable[..., Any], model: str = "plain") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for each in ungiven.values(forward, BASE, {}, {"use_cache": False}, model):
        found.setdefault(each.name, []).append(each.value)
    return found


# ---- which values


def test_every_row_says_why() -> None:
    assert all(len(row["reason"]) > 15 for row in ungiven.rows().values())
    assert ungiven.reason("bert", "labels") == "It only makes a loss."
    assert not ungiven.reason("bert", "interpolate_pos_encoding")
    assert not ungiven.reason("bert", "span")


def test_a_flag_is_turned_and_a_number_given() -> None:
    def forward(
        input_ids: Any,
        use_cache: bool | None = None,
        flip: bool | None = None,
        merge: bool = True,
        span: int | None = None,
        steps: int = 10,
        layers: int | list[int] | None = None,
        temperature: float | None = None,
        strategy: str | None = None,
        untyped: Any = None,
        labels: bool | None = None,
        **kwargs: Any,
    ) -> None:
        pass

    assert tried(forward) == {"flip": [True], "merge": [False], "span": [2]}


def test_a_row_gives_the_value() -> None:
    def forward(interpolate_pos_encoding: bool = False) -> None:
        pass

    found = list(ungiven.values(forward, BASE, {}, {}, "vit"))
    assert [(each.value, each.same) for each in found] == [(True, True)]
    assert str(found[0]) == "interpolate_pos_encoding = True"


def test_a_row_of_one_architecture_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(speaker: int | None = None) -> None:
        pass

    rows = {"vits:speaker": {"reason": "It has one."}, "speaker": {"reason": "", "value": 7}}
    monkeypatch.setattr(ungiven, "rows", lambda: rows)
    assert tried(forward, "vits") == {}
    assert tried(forward) == {"speaker": [7]}
    assert ungiven.reason("vits", "speaker") == "It has one."
    assert ungiven.reason("other", "speaker") == ""


def test_a_mask_has_a_token_for_each_one_that_it_is_applied_to() -> None:
    def forward(attention_mask: Any = None, decoder_attention_mask: Any = None) -> None:
        """A forward.

        Args:
            attention_mask (`torch.Tensor`, *optional*, defaults to `None`):
                An attention mask of shape `(batch, key_tokens)` is applied to `states`. If `1`
                the mask is kept.
            decoder_attention_mask (`torch.Tensor`):
                Another.
        """

    found = list(ungiven.values(forward, BASE, {}, {}, "unet"))
    assert [each.name for each in found] == [
        *["attention_mask"] * 2,
        *["decoder_attention_mask"] * 2,
    ]
    assert [each.same for each in found] == [True, False] * 2
    assert [each.moves for each in found] == [False, True] * 2
    assert found[0].value.tolist() == [[1] * 5] * 2
    assert found[1].value.tolist() == [[1] * 5, [1] * 4 + [0]]
    assert found[3].value.shape == (2, 4)


def test_a_mask_whose_neutral_value_is_0() -> None:
    def forward(global_attention_mask: Any = None) -> None:
        pass

    neutral, other = tried(forward)["global_attention_mask"]
    assert not neutral.any()
    assert other.sum() == other[-1, -1] == 1


def test_a_mask_of_an_output_has_its_shape_and_the_type_of_the_annotation() -> None:
    def forward(attention_mask: Any = None, past_observed_mask: np.bool_ | None = None) -> None:
        pass

    inputs: Arrays = {"past_values": np.ones((2, 5, 3), dtype=np.float32)}
    outputs: Arrays = {"last_hidden_state": np.ones((2, 4, 8), dtype=np.float32)}
    found = list(ungiven.values(forward, inputs, {}, {}, "vit"))
    assert {each.name for each in found} == {"past_observed_mask"}
    forward.__annotations__["past_observed_mask"] = "torch.BoolTensor | None"
    inputs["pixel_values"] = np.ones((2, 3, 8, 8), dtype=np.float32)
    found = list(ungiven.values(forward, inputs, outputs, {}, "vit"))
    assert [each.value.shape for each in found] == [(2, 4), (2, 4), (2, 5, 3), (2, 5, 3)]
    assert [each.value.dtype for each in found] == [np.int64, np.int64, np.bool_, np.bool_]


def test_a_plain_mask_that_hides_nothing_is_turned_at_its_end() -> None:
    def forward(attention_mask: Any, image_mask: Any, sparse_mask: Any, states: Any) -> None:
        pass

    whole = np.ones((2, 3), dtype=np.bool_)
    sparse = np.array([[1, 0], [1, 1]])
    inputs: Arrays = {"attention_mask": whole, "image_mask": whole, "sparse_mask": sparse}
    (turned,) = ungiven.values(forward, inputs, {}, {}, "plain")
    assert (turned.name, turned.same) == ("image_mask", False)
    assert turned.value.tolist() == [[True] * 3, [True, True, False]]
    assert whole.all()


# ---- what is wrong with them


class Trying(LanguageCase):
    """The decoder with one further argument, which makes its outputs go through `change`."""

    def __init__(
        self, change: Callable[[Arrays], Arrays], *, same: bool = False, moves: bool = False
    ) -> None:
        super().__init__()
        self.change, self.same, self.moves = change, same, moves

    def ungiven(self, outputs: Arrays) -> Sequence[Ungiven]:
        assert outputs
        return [Ungiven("window_size", 4, "= 4", self.same, self.moves)]

    def reference_with(self, inputs: Arrays, further: Ungiven, dtype: str) -> Arrays:
        assert further.value == 4
        return self.change(self.reference(inputs, dtype))


def found(
    change: Callable[[Arrays], Arrays], *, same: bool = False, moves: bool = False
) -> list[str]:
    case: Any = Trying(change, same=same, moves=moves)
    base = case.inputs()
    want = case.reference(base)
    return [str(fault) for fault in check.faults(case, base, want, "float64")]


def raising(error: Exception) -> Callable[[Arrays], Arrays]:
    def change(_: Arrays) -> Arrays:
        raise error

    return change


def moved(outputs: Arrays) -> Arrays:
    return {name: array * 1.01 for name, array in outputs.items()}


def without_numbers(outputs: Arrays) -> Arrays:
    return {name: np.full_like(array, np.nan) for name, array in outputs.items()}


def test_an_argument_that_the_modeling_code_stumbles_over_is_found() -> None:
    error = AttributeError("no attribute '_timesfm_moving_average'")
    assert found(raising(error)) == [f"argument window_size = 4: AttributeError: {error}"]
    assert found(raising(RuntimeError("The size of tensor a (16) must match")))
    assert found(raising(IndexError("list index out of range")))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("window_size has to be odd"),
        NotImplementedError("no windows yet"),
    ],
)
def test_an_argument_that_is_refused_in_plain_words_is_none(error: Exception) -> None:
    assert found(raising(error)) == []


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")],
)
def test_want_of_memory_is_no_fault_of_the_library(error: Exception) -> None:
    with pytest.raises(type(error)):
        found(raising(error))


def test_what_comes_out_must_be_numbers() -> None:
    assert found(lambda outputs: outputs) == []
    assert found(moved) == []
    (said,) = found(without_numbers)
    assert said.startswith("argument window_size = 4: expected numbers, found NaN in ")


def test_what_must_stay_the_same_must_not_move() -> None:
    assert found(lambda outputs: outputs, same=True) == []
    (said,) = found(moved, same=True)
    assert "expected the outputs as they are without it, found: " in said


def test_other_shapes_are_not_the_same() -> None:
    (said,) = found(lambda outputs: {n: a[:, 1:] for n, a in outputs.items()}, same=True)
    assert "expected the outputs as they are without it, found: " in said
    assert found(lambda outputs: {n: a[:, 1:] for n, a in outputs.items()}, moves=True) == []


def test_a_mask_that_is_not_read_is_found() -> None:
    assert found(moved, moves=True) == []
    (said,) = found(lambda outputs: outputs, moves=True)
    assert said.endswith("expected it to change the outputs, which stayed the same")


def test_a_case_without_such_arguments_is_left_alone() -> None:
    case: Any = LanguageCase()
    base = case.inputs()
    assert list(check.faults(case, base, case.reference(base), "float64")) == []


def test_the_check_is_one_of_sessions_on_the_library_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = LanguageBackend()
    backend.made = Trying(raising(AttributeError("no such method")))
    run = Runner(monkeypatch)
    assert "argument" not in run(backend).reason
    result = run(backend, checks_library=True)
    assert result.reason == "argument window_size = 4: AttributeError: no such method"
