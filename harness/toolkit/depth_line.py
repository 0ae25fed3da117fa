"""Line through slices of a model: time and memory of the whole from those of a few depths.

Each further layer of a kind k adds the same amount: t = a + sum of b_k L_k over all kinds. The
whole is then a weighted sum of slices, whose weights follow from the numbers of layers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.toolkit.timing_statistics import RESAMPLES, TAILS, RatioInterval

#: Layers of a kind that a deeper slice has beyond the shallow one at most.
MOST_MORE = 4

#: The largest error of the weights: beyond it, the whole lies on no line through the slices.
MISFIT = 1e-6

#: Share by which an interval is wider than noise makes it, to each side: layers are not all equal,
#: as caches hold a part of a small model (`benchmarks/prediction.py`).
LINE = 0.05

Layers = Mapping[str, int]


def deeper(shallow: Layers, whole: Layers) -> list[dict[str, int]]:
    """The layers of the further slices that a prediction needs, beside a shallow one.

    Kinds of which the whole has equally many grow together: encoder and decoder of BART take two
    slices in all, the stages of Swin three.

    Args:
        shallow: layers of the shallow slice by kind.
        whole: layers of the whole model; kinds with no more than the shallow slice are left as they
            are.

    Returns:
        Layers by kind, one mapping a slice; empty where the slice is the whole model.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for kind, count in whole.items():
        if count > shallow.get(kind, 0):
            groups.setdefault((shallow.get(kind, 0), count), []).append(kind)
    return [
        {**shallow, **dict.fromkeys(kinds, least + max(1, min(MOST_MORE, (count - least) // 2)))}
        for (least, count), kinds in groups.items()
    ]


def weights(slices: Sequence[Layers], whole: Layers) -> NDArray[np.float64] | None:
    """The weights of slices whose sum has as many layers of each kind as the whole.

    Args:
        slices: layers by kind, as the slices came out.
        whole: layers of the whole model.

    Returns:
        One weight a slice, 1 in all; None where the slices tell no such line.
    """
    kinds = list(whole)
    counts = np.array([[1, *(layers.get(kind, 0) for kind in kinds)] for layers in slices], float)
    wanted = np.array([1, *whole.values()], float)
    found: NDArray[np.float64] = np.linalg.lstsq(counts.T, wanted, rcond=None)[0]
    if np.abs(counts.T @ found - wanted).max() > MISFIT * max(1.0, wanted.max()):
        return None
    return found


def predicted(
    seconds: Sequence[NDArray[np.float64]], shares: NDArray[np.float64], seed: int = 0
) -> RatioInterval:
    """Seconds of the whole model, with an interval of 95 %.

    Rounds in which the slices took turns are drawn again together (the bootstrap of Efron and
    Tibshirani, 1993); the interval is then widened by `LINE`.

    Args:
        seconds: of each slice, one number a round.
        shares: the weights of the slices.
        seed: of the resamples.
    """
    table = np.array(seconds)
    count = table.shape[1]
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    sums = np.einsum("s,sr->r", shares, np.median(table[:, drawn], axis=2))
    low, high = np.quantile(sums, TAILS)
    best = float(shares @ np.median(table, axis=1))
    return RatioInterval(best, float(low) * (1 - LINE), float(high) * (1 + LINE))
