"""Decompositions, in place while a model is converted, compute what the operations do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from backends.openvino import decompositions, shims  # noqa: E402  (they need torch)


def numbers(*shape: int) -> Any:
    torch.manual_seed(0)
    return torch.rand(shape, dtype=torch.float64)


def test_cat_passes_over_what_a_fresh_cache_holds() -> None:
    empty, full = torch.tensor([]), torch.rand(2, 3, 4)
    assert torch.equal(decompositions.cat([empty, full], dim=-2), torch.cat([empty, full], dim=-2))
    assert torch.equal(decompositions.cat([full, full], axis=1), torch.cat([full, full], dim=1))
    assert decompositions.cat([empty, empty]).shape == (0,)


@pytest.mark.parametrize(("dim", "size", "step"), [(1, 3, 2), (-1, 4, 4), (0, 1, 1), (-2, 5, 3)])
def test_unfold(dim: int, size: int, step: int) -> None:
    tensor = numbers(6, 7, 8)
    want = tensor.unfold(dim, size, step)
    assert torch.equal(decompositions.unfold(tensor, dim, size, step), want)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_solve_triangular(upper: bool, left: bool, unit: bool, size: int) -> None:
    matrix = numbers(2, 3, size, size) / size + torch.eye(size, dtype=torch.float64)
    right = numbers(2, 3, size, 4) if left else numbers(2, 3, 4, size)
    given = {"upper": upper, "left": left, "unitriangular": unit}
    want = torch.linalg.solve_triangular(matrix, right, **given)
    got = decompositions.solve_triangular(matrix, right, **given)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


INDICES: dict[str, Callable[[Any], Any]] = {
    "mask": lambda t: t[:, 0, 0] > 0.5,
    "mask of two dimensions": lambda t: t[:, :, 0] > 0.5,
    "mask of everything": lambda t: t > 0.5,
    "mask of nothing": lambda t: t > 2,
    "integers": lambda t: torch.tensor([2, 0]),
    "slices": lambda t: (slice(None), slice(1, 3)),
    "mask and slice": lambda t: (t[:, 0, 0] > 0.5, slice(1, 3)),
    "truth value": lambda t: torch.tensor(True),
}


@pytest.mark.parametrize("name", INDICES)
def test_getitem(name: str) -> None:
    tensor = numbers(5, 4, 3)
    index = INDICES[name](tensor)
    assert torch.equal(decompositions.getitem(tensor, index), tensor[index])


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64])
@pytest.mark.parametrize("value", [True, False])
def test_scatter_of_a_truth_value(dtype: Any, value: bool) -> None:
    tensor = torch.zeros(3, 5, dtype=dtype) if value else torch.ones(3, 5, dtype=dtype)
    index = torch.tensor([[0, 2], [4, 1], [3, 3]])
    want = torch.scatter(tensor, 1, index, int(value))
    got = decompositions.scatter(tensor, 1, index, value)
    assert got.dtype == dtype
    assert torch.equal(got, want)
    assert torch.equal(decompositions.scatter(tensor, 1, index, value=value), want)


def test_scatter_of_anything_else_is_left_alone() -> None:
    tensor, index = numbers(3, 5), torch.tensor([[0, 2], [4, 1], [3, 3]])
    assert torch.equal(
        decompositions.scatter(tensor, 1, index, src=tensor), tensor.scatter(1, index, tensor)
    )
    assert torch.equal(decompositions.scatter(tensor, 1, index, 7.0), tensor.scatter(1, index, 7.0))


def test_tensor_of_tensors_is_stacked() -> None:
    items = [torch.tensor(1), torch.tensor(2.5), 3]
    assert torch.equal(decompositions.tensor(items), torch.tensor([1.0, 2.5, 3.0]))
    assert decompositions.tensor(items, dtype=torch.int64).tolist() == [1, 2, 3]
    assert torch.equal(decompositions.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 4]]))
    assert decompositions.tensor(5, dtype=torch.int32).dtype == torch.int32


def test_index_put_leaves_its_tensor_alone() -> None:
    tensor = numbers(4, 3)
    before, indices = tensor.clone(), (torch.tensor([0, 2]), torch.tensor([1, 1]))
    got = decompositions.index_put(tensor, indices, torch.zeros(2, dtype=torch.float64))
    want = tensor.index_put(indices, torch.zeros(2, dtype=torch.float64))
    assert torch.equal(got, want)
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("dims", [(), (1,), (-1,), (0,), ((1, 3),)])
def test_squeeze(dims: tuple[Any, ...]) -> None:
    tensor = numbers(2, 1, 3, 1)
    assert torch.equal(decompositions.squeeze(tensor, *dims), tensor.squeeze(*dims))
    assert decompositions.squeeze(torch.tensor(1.0)).shape == ()
    assert torch.equal(decompositions.squeeze(tensor, dim=1), tensor.squeeze(dim=1))


def test_setitem() -> None:
    mask = torch.tensor([True, False, True])
    for index in [(slice(None), 1, mask), (slice(None), mask), mask[:, None].expand(3, 3)]:
        want, got = torch.zeros(3, 3, 3), torch.zeros(3, 3, 3)
        value = torch.rand(want[index].shape)
        want[index] = value
        decompositions.setitem(got, index, value)
        assert torch.equal(got, want)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_repeat_interleave(dim: int) -> None:
    tensor = numbers(3, 3, 3)
    counts = torch.tensor([2, 0, 3])
    want = tensor.repeat_interleave(counts, dim)
    assert torch.equal(decompositions.repeat_interleave(tensor, counts, dim), want)
    assert torch.equal(
        decompositions.repeat_interleave(tensor, 2, dim=dim), tensor.repeat_interleave(2, dim)
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("dim", [0, 1])
def test_cummax_and_cummin(dtype: Any, dim: int) -> None:
    torch.manual_seed(0)
    tensor = torch.randint(0, 4, (6, 7)).to(dtype)
    for plain, ours in [
        (torch.cummax, decompositions.cummax),
        (torch.cummin, decompositions.cummin),
    ]:
        want, got = plain(tensor, dim), ours(tensor, dim)
        assert torch.equal(got.values, want.values)
        assert torch.equal(got.indices, want.indices)


def test_isin() -> None:
    elements, wanted = torch.randint(0, 9, (4, 5)), torch.tensor([[1, 7]])
    assert torch.equal(decompositions.isin(elements, wanted), torch.isin(elements, wanted))
    got = decompositions.isin(elements, wanted, invert=True)
    assert torch.equal(got, torch.isin(elements, wanted, invert=True))


def test_conj() -> None:
    tensor = torch.complex(torch.rand(3), torch.rand(3))
    assert torch.equal(decompositions.conj(tensor), torch.conj(tensor))
    assert torch.equal(decompositions.conj(torch.ones(2)), torch.ones(2))


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("n", [1, 2])
def test_diff(n: int, dim: int) -> None:
    tensor = numbers(4, 5)
    more = tensor.narrow(dim, 0, 1)
    assert torch.equal(decompositions.diff(tensor, n, dim), torch.diff(tensor, n, dim))
    want = torch.diff(tensor, n, dim, prepend=more, append=more)
    assert torch.equal(decompositions.diff(tensor, n, dim, prepend=more, append=more), want)


@pytest.mark.parametrize("given", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_nan_to_num(given: tuple[float, ...]) -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -float("inf"), 4.0])
    got = decompositions.nan_to_num(tensor, *given)
    assert torch.equal(got, torch.nan_to_num(tensor, *given))
    assert decompositions.nan_to_num(torch.tensor([7])).tolist() == [7]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction: str) -> None:
    one, other = numbers(3, 4), numbers(3, 4) ** 2
    want = torch.nn.functional.mse_loss(one, other, reduction=reduction)
    got = decompositions.mse_loss(one, other, reduction=reduction)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_sequence(batch_first: bool, side: str) -> None:
    parts = [numbers(length, 2) for length in (3, 1, 4)]
    want = torch.nn.utils.rnn.pad_sequence(parts, batch_first, 9.0, side)
    assert torch.equal(decompositions.pad_sequence(parts, batch_first, 9.0, side), want)


def test_new_full_and_full_like() -> None:
    tensor = numbers(2, 3)
    assert torch.equal(decompositions.new_full(tensor, (4,), 7), tensor.new_full((4,), 7))
    assert decompositions.new_full(tensor, (4,), 7, dtype=torch.int32).dtype == torch.int32
    for like in (tensor, tensor > 0.5):
        got = decompositions.full_like(like, True)
        assert got.dtype == like.dtype
        assert torch.equal(got, torch.full_like(like, True))


@pytest.mark.parametrize("kernel", [2, 3, 9, (9, 8)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_avg_pool2d(kernel: Any, ceil_mode: bool) -> None:
    tensor = numbers(1, 2, 5, 4)
    pool = torch.nn.functional.avg_pool2d
    given = (kernel, None, 0, ceil_mode)
    if not ceil_mode and kernel not in (2, 3):
        with pytest.raises(RuntimeError, match="too small"):
            decompositions.avg_pool2d(tensor, *given)
    else:
        want = pool(tensor, *given)
        torch.testing.assert_close(decompositions.avg_pool2d(tensor, *given), want)
        got = decompositions.avg_pool2d(tensor, kernel, ceil_mode=ceil_mode)
        torch.testing.assert_close(got, want)


def test_shims_are_in_place_only_while_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def cat(*given: Any, **named: Any) -> Any:
        seen.append("cat")
        return decompositions.cat(*given, **named)

    shim = shims.Shim("torch:cat", cat, "To see when it is called.")
    monkeypatch.setattr(shims, "OPERATIONS", (*shims.OPERATIONS, shim))
    torch.cat([torch.ones(1)])
    assert seen == []
    with shims.applied(repaired=False):
        assert torch.cat([torch.ones(1), torch.ones(1)]).tolist() == [1, 1]
        assert torch.rand(2, 6).unfold(1, 2, 2).shape == (2, 3, 2)
        assert torch.rand(3)[torch.tensor([True, False, True])].shape == (2,)
    assert seen == ["cat"]
    torch.cat([torch.ones(1)])
    assert seen == ["cat"]


def test_tensors_in_a_list_survive_the_shims() -> None:
    # With a __getitem__ of Python's, PyTorch would take a tensor without dimensions for a list.
    items = [torch.tensor(1), torch.tensor(2)]
    with shims.applied(repaired=False):
        assert torch.tensor(items).tolist() == [1, 2]
    assert torch.tensor(items).tolist() == [1, 2]


@pytest.mark.parametrize(
    "shim", [*shims.FUNCTIONS, *shims.OPERATIONS, *shims.REPAIRS], ids=lambda shim: str(shim.target)
)
def test_shim_has_a_target_and_a_reason(shim: shims.Shim) -> None:
    pytest.importorskip(shim.target.partition(":")[0])
    assert callable(getattr(*shims.owner(shim)))
    assert shim.reason.endswith(".")


@pytest.mark.parametrize("kind", ["bool", "float", "none"])
def test_attention_of_a_query_that_sees_nothing(kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.rand(2, 3, 4, 8) for _ in range(3))
    mask = torch.rand(2, 1, 4, 4) > 0.5
    mask[0, :, 1] = False
    mask[:, :, 0, 0] = True
    given = {"bool": mask, "float": torch.rand(2, 1, 4, 4), "none": None}[kind]
    attention = torch.nn.functional.scaled_dot_product_attention
    want = attention(query, key, value, given, scale=0.3)
    if kind == "bool":
        want[0, :, 1] = value[0].mean(dim=-2)  # zeros in PyTorch, NaN in OpenVINO
    got = decompositions.scaled_dot_product_attention(query, key, value, given, scale=0.3)
    assert torch.allclose(got, want)


def test_a_repair_is_left_out_of_what_a_user_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def attention(*given: Any, **named: Any) -> Any:
        seen.append("attention")
        return decompositions.scaled_dot_product_attention(*given, **named)

    shim = shims.Shim(shims.REPAIRS[0].target, attention, "To see when it is called.")
    monkeypatch.setattr(shims, "REPAIRS", (shim,))
    query = torch.rand(1, 1, 2, 4)
    for repaired in (False, True):
        with shims.applied(repaired=repaired):
            torch.nn.functional.scaled_dot_product_attention(query, query, query)
        assert seen == ["attention"] * repaired
