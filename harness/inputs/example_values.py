"""Seeded values of a model's example inputs, and their sizes in each variant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.contract import HIDDEN, MASKED_MEDIA, SHORT, WHOLE, Array
from harness.toolkit.seeded_values import integers, uniform

#: Variants with the masks of a medium.
MASKED = frozenset(kind + medium for kind in (WHOLE, SHORT, HIDDEN) for medium in MASKED_MEDIA)


@dataclass(eq=False)
class ExampleValues:
    """Values of one model's arguments, which follow from the seed, the variant and their names.

    Attributes:
        module: a torch module, or what has its `forward`.
        config: its config.
        seed: of the values.
        variant: another name gives other values; see `harness.contract.Case.inputs`.
        batch: examples.
        length: tokens of a text, or steps of another sequence of free length.
    """

    module: Any
    config: Any
    seed: int
    variant: str
    batch: int
    length: int

    def floats(self, name: str, *shape: int) -> Array:
        """Float32 values of mean 0 and standard deviation 1, uniform."""
        values = uniform(self.seed, f"input/{self.variant}/{name}", shape)
        return values * np.float32(math.sqrt(3.0))

    def ints(self, name: str, shape: tuple[int, ...], low: int, high: int) -> Array:
        """Int64 values in [low, high), all `low` where that is empty."""
        return integers(self.seed, f"input/{self.variant}/{name}", shape, low, max(low + 1, high))

    @property
    def masked(self) -> str:
        """The medium that has its masks in this variant, although a plain call leaves them out."""
        return self.variant.partition("-")[2] if self.variant in MASKED else ""

    def less(self, medium: str, size: int, step: int = 1) -> int:
        """A size of a medium in this variant: five eighths of it in the short one, else all.

        Args:
            medium: one of `harness.contract.MASKED_MEDIA`.
            size: in the plain inputs.
            step: of which a size is a multiple.
        """
        return _part(size, step) if self.variant == SHORT + medium else size

    def fewer(self, medium: str, count: int) -> int:
        """How many features of a medium are no padding in this variant, by how many it has.

        Args:
            medium: one of `harness.contract.MASKED_MEDIA`; another hides none.
            count: in the plain inputs.
        """
        return _part(count, 1) if self.variant in (SHORT + medium, HIDDEN + medium) else count

    def hidden(self, medium: str, mask: Array, axis: int) -> Array:
        """A mask of a medium; the end is hidden in the variant that hides it.

        Args:
            medium: one of `harness.contract.MASKED_MEDIA`.
            mask: which hides nothing.
            axis: along which the medium ends.
        """
        if self.variant == HIDDEN + medium:
            np.moveaxis(mask, axis, 0)[_part(mask.shape[axis], 1) :] = 0
        return mask

    def resized(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Height and width of an image in this variant.

        Twice the width is divisible by whatever the width was divisible by.
        """
        height, width = sides
        match self.variant:
            case "odd-size":
                return (height + 5) | 1, (width + 17) | 1
            case "other-size":
                return height, 2 * width
        return sides


def _part(size: int, step: int) -> int:
    return max(1, size * 5 // 8 // step) * step
