from __future__ import annotations

import pytest
import torch

from backends.torch_cpu_legacy.natten.natten import functional

torch.manual_seed(0)


def start_of_natten(index: int, length: int, kernel: int, dilation: int) -> int:
    """`get_window_start` of natten 0.14's C++ code."""
    reach = kernel // 2
    if dilation <= 1:
        return max(index - reach, 0) + (index + reach >= length) * (length - index - reach - 1)
    if index - reach * dilation < 0:
        return index % dilation
    if index + reach * dilation >= length:
        line, whole = index % dilation, length // dilation * dilation
        if line < length - whole:
            return whole + line - 2 * reach * dilation
        return whole + line - kernel * dilation
    return index - reach * dilation


def bias_of_natten(index: int, length: int, kernel: int, dilation: int) -> int:
    """`get_pb_start` of natten 0.14's C++ code."""
    reach = kernel // 2
    if dilation <= 1:
        before = (index < reach) * (reach - index)
        return reach + before + (index + reach >= length) * (length - index - 1 - reach)
    if index - reach * dilation < 0:
        return kernel - 1 - index // dilation
    if index + reach * dilation >= length:
        return (length - index - 1) // dilation
    return reach


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_windows_are_those_of_natten(kernel: int, dilation: int) -> None:
    for length in range(kernel * dilation, kernel * dilation + 8):
        positions, biases = functional.window(length, kernel, dilation)
        for index in range(length):
            start = start_of_natten(index, length, kernel, dilation)
            bias = bias_of_natten(index, length, kernel, dilation)
            assert positions[index].tolist() == [start + k * dilation for k in range(kernel)]
            assert biases[index].tolist() == [bias + k for k in range(kernel)]


def test_scores_and_means_are_sums_over_the_neighborhood() -> None:
    query, key, value = torch.randn(3, 2, 2, 7, 9, 4, dtype=torch.float64)
    rpb = torch.randn(2, 5, 5, dtype=torch.float64)
    scores = functional.natten2dqkrpb(query, key, rpb, 3, 2)
    means = functional.natten2dav(scores, value, 3, 2)
    rows, columns = functional.window(7, 3, 2), functional.window(9, 3, 2)
    for y, x in [(0, 0), (3, 4), (6, 8), (1, 7)]:
        mean = torch.zeros(2, 2, 4, dtype=torch.float64)
        for n in range(9):
            (i, p), (j, q) = ((axis[0][at, k], axis[1][at, k]) for axis, at, k in
                              ((rows, y, n // 3), (columns, x, n % 3)))  # fmt: skip
            score = (query[:, :, y, x] * key[:, :, i, j]).sum(-1) + rpb[:, p, q]
            torch.testing.assert_close(scores[:, :, y, x, n], score)
            mean += score[..., None] * value[:, :, i, j]
        torch.testing.assert_close(means[:, :, y, x], mean)


@pytest.mark.parametrize(("length", "kernel", "dilation"), [(6, 7, 1), (6, 3, 3), (8, 4, 1)])
def test_a_kernel_that_does_not_fit_is_refused(length: int, kernel: int, dilation: int) -> None:
    with pytest.raises(ValueError, match="expected an odd kernel"):
        functional.window(length, kernel, dilation)
