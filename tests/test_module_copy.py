"""Copies of a module are what `copy.deepcopy` makes, by pickle where that can."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness.models.module_copy import ModuleCopies  # noqa: E402


class Tied(torch.nn.Module):  # type: ignore[name-defined]
    """Two names of one weight, a buffer, a plain tensor and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.second = torch.nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = torch.nn.BatchNorm1d(3)
        self.scale = torch.full((3,), 2.0)
        self.table = {"depth": [1, 2]}
        self.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.norm(self.second(self.first(x))) * self.scale


class WithClosure(Tied):
    """A module with a closure, which pickle refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.shift: Any = lambda x: x + 1

    def forward(self, x: Any) -> Any:
        moved: Any = super().forward
        return self.shift(moved(x))


@pytest.mark.parametrize("kind", [Tied, WithClosure])
@pytest.mark.parametrize("way", ["copy", "shared"])
def test_copy_computes_the_same_and_keeps_ties(kind: Any, way: str) -> None:
    module = kind().eval()
    made = getattr(ModuleCopies(module), way)()
    x = torch.randn(4, 3)
    assert torch.equal(made(x), module(x))
    assert made.second.weight is made.first.weight
    assert made.training == module.training
    assert (made.first.weight.data_ptr() == module.first.weight.data_ptr()) == (way == "shared")


@pytest.mark.parametrize("kind", [Tied, WithClosure])
def test_writes_into_a_copy_reach_no_other(kind: Any) -> None:
    module = kind().eval()
    copies = ModuleCopies(module)
    one, other = copies.copy(), copies.copy()
    for held in (one.first.weight, one.norm.running_mean, one.scale):
        held.fill_(7.0)
    one.table["depth"].append(3)
    for kept in (module, other):
        assert not torch.equal(kept.first.weight, one.first.weight)
        assert float(kept.norm.running_mean.sum()) == 0.0
        assert float(kept.scale.sum()) == 6.0
        assert kept.table == {"depth": [1, 2]}


def test_copy_has_the_values_of_now() -> None:
    module = Tied().eval()
    copies = ModuleCopies(module)
    copies.copy()
    module.first.weight.fill_(3.0)
    assert float(copies.copy().first.weight[0, 0]) == 3.0


def test_closure_is_left_to_deepcopy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = ModuleCopies(WithClosure())
    copies.copy()
    assert copies._payload is None
    copies = ModuleCopies(Tied())
    copies.copy()
    assert copies._payload is not None
