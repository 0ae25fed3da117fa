"""Stand-ins for operations of data-dependent size give the operations' own results."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from backends._shared.onnx.data_dependent import static_shapes  # noqa: E402  (it needs torch)

MASK = torch.tensor([[True, False, True], [False, True, True]])
TOP = torch.tensor([[2, 0], [1, 2]])
X = torch.arange(6.0).reshape(2, 3)
ROWS = torch.arange(24.0).reshape(2, 3, 4)


def scattered(x: Any, mask: Any, values: Any) -> Any:
    return x.masked_scatter(mask, values)


def scattered_in_place(x: Any, mask: Any, values: Any) -> Any:
    return x.clone().masked_scatter_(mask, values)


def written(x: Any, mask: Any, values: Any) -> Any:
    changed = x.clone()
    changed[mask] = values
    return changed


def scattered_to(x: Any, index: Any, given: Any) -> Any:
    return x.scatter(-1, index, given)


def scattered_down(x: Any, index: Any, given: Any) -> Any:
    return torch.scatter(x, 0, index, given)


def scattered_to_in_place(x: Any, index: Any, given: Any) -> Any:
    return x.clone().scatter_(dim=1, index=index, src=given)


CASES = [
    (scattered, X, MASK, torch.tensor([9.0, 8.0, 7.0, 6.0])),
    (scattered, X, MASK, torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0])),  # more than are taken
    (scattered, ROWS, MASK[..., None].expand_as(ROWS), -torch.arange(16.0)),
    (scattered, ROWS, MASK[..., None], -torch.arange(16.0)),
    (scattered_in_place, ROWS, MASK[..., None].expand_as(ROWS), -torch.arange(16.0)),
    (written, X, MASK, 5.0),
    (written, X, MASK, torch.tensor(5.0)),
    (written, X, MASK, torch.tensor([9.0, 8.0, 7.0, 6.0])),
    (written, ROWS, MASK, 5.0),
    (written, ROWS, MASK, -torch.arange(16.0).reshape(4, 4)),
    (written, ROWS, MASK, torch.tensor([[1.0, 2.0, 3.0, 4.0]])),  # the same for each
    (written, ROWS, MASK, torch.tensor([1.0, 2.0, 3.0, 4.0])),
    (written, ROWS, torch.tensor([True, False]), -torch.arange(12.0).reshape(1, 3, 4)),
    (written, ROWS, (MASK, 1), 5.0),
    (scattered_to, X, TOP, 9.0),
    (scattered_to, X > 2, TOP, True),
    (scattered_to, X, TOP, torch.tensor([[9.0, 8.0], [7.0, 6.0]])),
    (scattered_to, X, TOP[:1], 9.0),  # of the first row alone
    (scattered_to, X, TOP[:, :1], torch.tensor([[9.0, 8.0], [7.0, 6.0]])),  # more than are taken
    (scattered_down, X, torch.tensor([[1, 0, 1]]), torch.tensor([[9.0, 8.0, 7.0]])),
    (scattered_to_in_place, X, TOP, torch.tensor([[9.0, 8.0], [7.0, 6.0]])),
    (written, ROWS, (MASK, slice(None)), -torch.arange(16.0).reshape(4, 4)),
    (written, X, MASK, torch.tensor([9.0])),
    (written, ROWS, torch.tensor([True, False]), torch.tensor([[1.0], [2.0], [3.0]])),
]


@pytest.mark.parametrize(("function", "x", "mask", "values"), CASES)
def test_the_replacement_gives_the_same(function: Any, x: Any, mask: Any, values: Any) -> None:
    expected = function(x, mask, values)
    with static_shapes():
        assert torch.equal(function(x, mask, values), expected)


def exported(function: Any, *values: Any) -> set[str]:
    class Module(torch.nn.Module):
        def forward(self, x: Any, mask: Any, *values: Any) -> Any:
            return function(x, mask, *values)

    with static_shapes():
        program = torch.export.export(Module(), (ROWS, MASK, *values))
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def test_no_size_depends_on_data_then() -> None:
    row = torch.arange(4.0)
    for values in (-torch.arange(16.0).reshape(4, 4), torch.tensor(5.0), row, row[None]):
        found = exported(written, values)
        assert not [name for name in found if "nonzero" in name or "index_put" in name], found
