"""The points of the contract, in the order in which a backend's author meets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.cell.conformance import isolation, opening, outputs, refusals, ways
from harness.cell.conformance.subject import Subject
from harness.contract import Stage


@dataclass(frozen=True, slots=True)
class Point:
    """One promise of `harness.contract`.

    Attributes:
        look: holds the backend against the promise, and says in a line what was seen; raises where
            the promise is broken. Its docstring is the promise.
        of_case: whether it is checked on each case; otherwise once.
        stage: the first step for whose failure this point blames the backend.
    """

    look: Callable[[Subject], str]
    of_case: bool = True
    stage: Stage = Stage.VERIFY

    @property
    def promise(self) -> str:
        """The promise in one line."""
        return (self.look.__doc__ or "").strip().splitlines()[0]


#: Promises by the name that a row of the table has.
POINTS: Mapping[str, Point] = {
    "opens": Point(opening.opens, of_case=False, stage=Stage.BUILD),
    "probe": Point(opening.probe, of_case=False),
    "precisions": Point(opening.precisions, of_case=False),
    "members": Point(opening.members, of_case=False),
    "memory": Point(opening.memory, of_case=False),
    "meter": Point(opening.meter, of_case=False),
    "prepare": Point(outputs.prepares, stage=Stage.PREPARE),
    "types": Point(outputs.types, stage=Stage.RUN),
    "names": Point(outputs.names),
    "order": Point(outputs.order),
    "dtypes": Point(outputs.dtypes),
    "finite": Point(outputs.finite),
    "numbers": Point(outputs.numbers),
    "shapes": Point(outputs.shapes),
    "placement": Point(outputs.placement),
    "read-only": Point(isolation.read_only, stage=Stage.RUN),
    "layout": Point(isolation.layout),
    "aliasing": Point(isolation.aliased),
    "stateless": Point(isolation.stateless),
    "deterministic": Point(isolation.deterministic),
    "two programs": Point(isolation.apart),
    "case": Point(isolation.case_untouched),
    "growth": Point(isolation.growth),
    "bad inputs": Point(isolation.recovers),
    "numpy": Point(isolation.numpy_untouched),
    "refusal": Point(refusals.refuses),
    "absent": Point(refusals.absent),
    "pipeline": Point(ways.pipeline),
    "generator": Point(ways.generator),
    "from_pretrained": Point(ways.roundtrip),
    "exported": Point(ways.exported),
}
