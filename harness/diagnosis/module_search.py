"""Search for the first submodule whose outputs leave their noise floor, or that fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.cell.reference import first_reference
from harness.contract import Arrays
from harness.diagnosis.events import Event
from harness.diagnosis.observed_module import observed_module
from harness.diagnosis.pieces import Pieces
from harness.diagnosis.recorded_calls import Place
from harness.diagnosis.trial import Trial, TrialKind, Trials
from harness.diagnosis.yardstick import Yardstick, limit_for, yardstick
from harness.models.case import TinyCase
from harness.toolkit import numerics

#: The call of the model itself.
ROOT: Place = ("", 0)


@dataclass(slots=True)
class FaultyModule:
    """The submodule that fails, and how that is known.

    Attributes:
        place: of its call.
        alone: how it fails alone; None where it does not.
        in_library: whether PyTorch's own arithmetic in float64 fails there too, so that the
            modeling code is to blame and no backend.
        scores: of each call's outputs, by place, in the order of execution.
        tried: pieces that were tried alone, with their endings.
        cut_short: whether the time was over before all calls within it were tried.
        by_scores: whether scores of one inference of the whole model led there.
    """

    place: Place
    alone: Trial | None
    in_library: bool = False
    scores: Mapping[Place, float] = field(default_factory=dict)
    tried: Mapping[Place, Trial] = field(default_factory=dict)
    by_scores: bool = False
    cut_short: bool = False


class ModuleSearch:
    """The search within one model.

    Args:
        pieces: of the model.
        whole: how the model fails.
        trials: of pieces on the backend.
    """

    def __init__(self, pieces: Pieces, whole: Trial, trials: Trials) -> None:
        self.pieces = pieces
        self.whole = whole
        self.trials = trials
        self.tried: dict[Place, Trial] = {}

    def found(self) -> FaultyModule:
        """The submodule that fails."""
        if self.whole.kind is not TrialKind.WRONG:
            return self._descended()
        inside = self._in_library()
        if inside is not None:
            return inside
        observed = self._observed()
        wrong = self._first_wrong(observed.scores) if observed.kind is TrialKind.WRONG else None
        if wrong is None:
            return self._descended()
        scores = self._of_outputs(observed.scores)
        place: Place | None = wrong
        while place is not None and place != ROOT and not self.trials.over:
            if self._alone(place).like(self.whole):
                return FaultyModule(place, self.tried[place], False, scores, self.tried, True)
            place = self.pieces.calls[place].caller
        alone = self.whole if wrong == ROOT else None
        return FaultyModule(wrong, alone, False, scores, self.tried, True)

    @cached_property
    def _inputs(self) -> Arrays:
        return self.pieces.inputs[self.pieces.chosen]

    @cached_property
    def _own(self) -> TinyCase:
        module = observed_module(self.pieces.case.module(), plain_attention=False)
        return self.pieces.case.wrapped(module)

    def _measure(self, case: TinyCase) -> Yardstick:
        return yardstick(case, self.trials.precision, self._inputs)

    def _in_library(self) -> FaultyModule | None:
        """The module in which the library's default attention is wrong in float64 already."""
        plain = self.pieces.case.wrapped(
            observed_module(self.pieces.case.module(), plain_attention=True)
        )
        own, _ = first_reference(self._own, self._inputs)
        scores = self._measure(plain).scores(own)
        if self._final(scores) <= numerics.LIMIT:
            return None
        wrong = self._first_wrong(scores)
        if wrong is None:
            return None
        return FaultyModule(wrong, None, True, self._of_outputs(scores), by_scores=True)

    def _observed(self) -> Trial:
        """One inference of the whole model, all tensors between its submodules returned."""
        case = self._own

        def trial() -> Trial:
            return self.trials.inference(case, self._inputs, lambda: self._measure(case))

        return self.trials.known("observed", trial)

    def _final(self, scores: Mapping[str, float]) -> float:
        """The worst score of the model's own outputs."""
        events = {key: Event.of(key) for key in scores}
        return max(
            (
                scores[key]
                for key, event in events.items()
                if not event.path and event.side == "out"
            ),
            default=0.0,
        )

    def _first_wrong(self, scores: Mapping[str, float]) -> Place | None:
        """The call whose own code makes the first wrong tensor; None where outputs are right."""
        final = self._final(scores)
        if final <= numerics.LIMIT:
            return None
        limit = limit_for(final)
        outputs = self._of_outputs(scores)
        unheeded: Place | None = None
        for key, score in scores.items():
            event = Event.of(key)
            if score <= limit or (not event.path and event.side == "in"):
                continue
            place = event.path, event.call
            if event.side == "out":
                return place
            maker = self.pieces.calls[place].caller
            if outputs.get(place, 0.0) > limit:
                return maker
            unheeded = unheeded or maker  # as a mask in which nothing is masked
        return unheeded

    def _of_outputs(self, scores: Mapping[str, float]) -> dict[Place, float]:
        """The worst score of each call's outputs.

        A call that returns what the last call within it returned has that call's score.
        """
        found: dict[Place, float] = {}
        for key, score in scores.items():
            event = Event.of(key)
            if event.side == "out":
                place = event.path, event.call
                found[place] = max(found.get(place, 0.0), score)
        calls = self.pieces.calls
        for place in reversed(list(calls)):
            caller = calls[place].caller
            if place in found and caller is not None and caller not in found:
                found[caller] = found[place]
        return found

    def _alone(self, place: Place) -> Trial:
        """A call, prepared and run alone."""

        def trial() -> Trial:
            try:
                case, given = self.pieces.alone(place)
            except Exception as error:  # arguments that cannot be copied or named
                return Trial(TrialKind.UNTESTED, reason=f"{type(error).__name__}: {error}")
            return self.trials.inference(
                case, given, lambda: yardstick(case, self.trials.precision, given)
            )

        path, number = place
        self.tried[place] = self.trials.known(f"{path} {number}", trial)
        return self.tried[place]

    def _descended(self) -> FaultyModule:
        """The innermost call that fails alone as the model does, from the model downwards."""
        place, failing = ROOT, self.whole
        while not self.trials.over:
            inside = next(
                (
                    child
                    for child in self.pieces.children(place)
                    if not self.trials.over and self._alone(child).like(self.whole)
                ),
                None,
            )
            if inside is None:
                break
            place, failing = inside, self.tried[inside]
        scores = {p: t.score for p, t in self.tried.items() if t.kind is not TrialKind.RAISES}
        untried = any(child not in self.tried for child in self.pieces.children(place))
        cut_short = self.trials.over and untried
        return FaultyModule(place, failing, False, scores, self.tried, cut_short=cut_short)
