"""Recorded values: what a module reads from tensors is what it read on the example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from backends._shared.onnx.recorded_values import Recording, Replay, leading_mask, true_positions  # noqa: E402

Function = Callable[..., Any]

X = torch.arange(24.0).reshape(2, 3, 4)
MASK = torch.tensor([[True, False, True], [False, True, True]])
OTHER = torch.tensor([[False, True, True], [True, True, False]])  # as many, elsewhere


def rows(x: Any, mask: Any) -> Any:
    return x[mask] + x[mask, :]


def selected(x: Any, mask: Any) -> Any:
    return torch.masked_select(x, mask[..., None])


def places(x: Any, mask: Any) -> Any:
    i, j = torch.where(mask)
    return torch.cat([x[i, j].sum(1), mask.nonzero().ravel(), torch.argwhere(mask).ravel()])


def counted(x: Any, mask: Any) -> Any:
    return x.new_zeros(mask.sum(), 2) + torch.arange(mask.sum())[:, None]


def filled(x: Any, mask: Any) -> Any:
    return torch.full((2,), mask.sum() / 8) + torch.arange(0, mask.sum() / 4, mask.sum() / 8)


def cut(x: Any, mask: Any) -> Any:
    first, second = x.reshape(-1, 4)[: mask.sum().item()].split([2, int(mask.sum()) - 2])
    return second.sum() + first.sum()


def listed(x: Any, mask: Any) -> Any:
    return torch.cat([part[: mask.sum(1).tolist()[0]] for part in x])


def repeated(x: Any, mask: Any) -> Any:
    return torch.repeat_interleave(x, mask.sum(1), dim=0)


def decided(x: Any, mask: Any) -> Any:
    return x + 1 if mask.any() else x


FUNCTIONS = [rows, selected, places, counted, filled, cut, listed, repeated, decided]


def exported(function: Function, answers: Any) -> Any:
    class Module(torch.nn.Module):
        def forward(self, x: Any, mask: Any) -> Any:
            with Replay(answers):
                return function(x, mask)

    return torch.export.export(Module(), (X, MASK), strict=False).module()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_program_with_the_answers_gives_the_same(function: Function) -> None:
    with Recording() as recording:
        want = function(X, MASK)
    program = exported(function, recording.answers)
    assert torch.equal(program(X, MASK), want)
    assert torch.equal(program(X + 1, OTHER), function(X + 1, OTHER))


@pytest.mark.parametrize("function", [cut, decided])
def test_without_them_there_is_no_program(function: Function) -> None:
    with pytest.raises(Exception, match="data-dependent"):
        exported(function, {})


def test_a_line_that_did_not_ask_gets_no_answer() -> None:
    with Recording() as recording:
        rows(X, MASK)
    with Replay(recording.answers):
        assert int(MASK.sum()) == 4
        assert X[OTHER].shape == (4, 4)
        assert rows(X, torch.ones(2, 3, dtype=torch.bool)).shape == (4, 4)  # as it was told


def test_a_row_of_one_is_read_as_a_number() -> None:
    def read() -> tuple[int, bool, list[bool]]:
        row = MASK.sum()[None]
        return int(row), bool(row), (row > 3).tolist()

    with Recording() as recording:
        want = read()
    with Replay(recording.answers):
        assert read() == want == (4, True, [True])


def test_answers_are_given_once() -> None:
    def sizes(*masks: Any) -> list[int]:
        return [int(mask.sum()) for mask in masks]

    with Recording() as recording:
        sizes(MASK, MASK[0])
    with Replay(recording.answers):
        assert sizes(OTHER[0], OTHER[0], OTHER[:, 0]) == [4, 2, 1]


def test_places_of_what_is_true() -> None:
    assert true_positions(MASK, 4).tolist() == [0, 2, 4, 5]
    with Recording() as recording:
        assert torch.tensor(5).nonzero().shape == (1, 0)  # a number has no places
    assert not recording.answers


@pytest.mark.parametrize(
    ("index", "leads"),
    [
        (MASK, True),
        ((MASK,), True),
        ((MASK, slice(None)), True),
        ((MASK, 1), False),
        ((slice(None), MASK[0]), False),
        (torch.tensor([0, 1]), False),
        (torch.tensor(True), False),
        (0, False),
    ],
)
def test_the_mask_of_an_index(index: Any, leads: bool) -> None:
    assert (leading_mask(index) is not None) == leads
