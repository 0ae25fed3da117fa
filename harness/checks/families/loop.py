"""Inference loop: inferences that feed each other, as the steps of a denoiser do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.checks.families.probe import MOVED, movement
from harness.contract import Arrays, CheckFailed, is_floating
from harness.toolkit.numerics import comparable

#: One inference: of the reference, or of a backend's program.
Call = Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Loop:
    """A fixed number of inferences, each of them fed by what the one before predicted."""

    name: str
    run: Callable[[Call, Arrays], Arrays]  # (one inference, the first inputs) -> where it ends
    base: Arrays
    starts: Mapping[str, Arrays]  # by what differs from `base`: each must end elsewhere

    def reference(self, call: Call) -> Arrays:
        """Outputs at the end of the loop that starts from `base`.

        Raises:
            CheckFailed: it ends in no finite values, or another start ends there too.
        """
        ended = self.run(call, self.base)
        broken = [n for n, a in ended.items() if is_floating(a) and not np.isfinite(a).all()]
        if broken or not comparable(ended):
            raise CheckFailed(f"{self.name}: expected finite values that vary, found none")
        for what, start in self.starts.items():
            again = self.run(call, start)
            if not any(movement(ended[n], again[n]) > MOVED for n in ended):
                raise CheckFailed(f"{self.name}: expected {what} to change where the loop ends")
        return ended
