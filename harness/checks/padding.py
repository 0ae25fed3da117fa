"""Padded variants: a shorter row of text, sound, image or condition, filled up beside a whole one.

What the reference gives on the real elements of a padded row must be what it gives for that row
without padding. `toolkit/padding_exemptions.toml` says which models need not, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from harness.checks import padded_outputs
from harness.checks.variant import ONE_SHAPE, OTHER_ARGUMENTS, Variant, Variants
from harness.contract import (
    HIDDEN,
    MASKED_MEDIA,
    RESHAPED,
    SHORT,
    WHOLE,
    Arrays,
    Case,
    LibraryFault,
    Unsupported,
)
from harness.toolkit import padded_inputs
from harness.toolkit.padding_exemptions import NO_EXEMPTION, PADDED, PADDED_ROW, exemptions_of

#: Why a mask that the plain inputs have too is not tried on a converted program.
CONVERTED = "masks of media are tried where programs take whatever forward takes"

#: The name of float64 in an error of PyTorch about operands of two dtypes.
DOUBLE = "Double"


@dataclass(frozen=True, slots=True)
class _Unpadded:
    """Outputs without padding, that those with padding are held against."""

    want: Arrays  # on whole rows
    brief: Arrays  # on shorter ones
    rows: int
    lengths: tuple[int, int] | None  # of the text, whole and shorter
    pairs: list[str] = field(default_factory=list)  # with a score of each row with each other one


@dataclass(slots=True)
class Padding:
    """Adds the padded variants that a model takes, and keeps the violations of the reference.

    Attributes:
        found: what is added to.
        case: whose inputs are padded.
        base: its plain inputs.
        dtype: of the reference.
        wrong: violations so far.
    """

    found: Variants
    case: Case
    base: Arrays
    dtype: str
    wrong: list[str] = field(default_factory=list)

    def add(self, want: Arrays, *, dynamic: bool, any_arguments: bool) -> None:
        """Adds all of them.

        Args:
            want: the reference's outputs on the plain inputs.
            dynamic: whether the backend's programs take other shapes.
            any_arguments: whether they take arguments that the plain inputs lack.
        """
        self._text(want, dynamic=dynamic)
        for medium in MASKED_MEDIA:
            self._medium(medium, any_arguments=any_arguments)
            if DOUBLE in self.found.left_out.get(padded_inputs.MEDIA[medium], ""):
                single = replace(self, dtype="float32")  # the mask's code alone refuses float64
                single._medium(medium, any_arguments=any_arguments)
        if self.wrong:
            self.found.padding_fault = LibraryFault("; ".join(self.wrong))

    def _text(self, want: Arrays, *, dynamic: bool) -> None:
        """Adds the padded batches, and the padded row of each as a batch of one."""
        case, base, found = self.case, self.base, self.found
        if not padded_inputs.can_be_padded(base):
            return
        exempt = exemptions_of(case)
        names = [*padded_inputs.SIDES, *padded_inputs.ROWS.values()]
        if PADDED in exempt:
            found.left_out |= dict.fromkeys(names, exempt[PADDED].reason)
            return
        short, mask = padded_inputs.shortened(base), base[padded_inputs.MASK]
        try:
            brief = case.reference(short, self.dtype)
        except Unsupported as error:
            found.left_out |= dict.fromkeys(names, str(error))
            return
        rows, length = mask.shape
        lengths = length, length - padded_inputs.SHORTER
        pairs = self._pairs_of_rows(want, rows)
        batches = padded_inputs.padded_batches(case, base)
        for name, inputs in batches.items():
            self._judge(name, name, inputs, _Unpadded(want, brief, rows, lengths, pairs))
        if rows == 1 or not dynamic or PADDED_ROW in exempt:
            reason = "its batch is of one row" if rows == 1 else ONE_SHAPE
            reason = exempt[PADDED_ROW].reason if PADDED_ROW in exempt else reason
            found.left_out |= dict.fromkeys(padded_inputs.ROWS.values(), reason)
            return
        wants = _own_row(want, rows, pairs), _own_row(brief, rows, pairs)
        try:
            more = case.inputs(RESHAPED)
        except Unsupported:
            more = {}
        others = len(more[padded_inputs.MASK]) if padded_inputs.MASK in more else 0
        for name, inputs in batches.items():
            alone = padded_inputs.last_row(inputs, rows, more, others)
            unpadded = _Unpadded(*wants, 1, lengths, pairs)
            self._judge(padded_inputs.ROWS[name], name, alone, unpadded)

    def _medium(self, medium: str, *, any_arguments: bool) -> None:
        """Adds the batch whose last row has less of a medium, where a mask says so."""
        case, name = self.case, padded_inputs.MEDIA[medium]
        try:
            whole = case.inputs(WHOLE + medium)
        except Exception as error:  # of an encoder that makes the features to be counted, say
            self.found.left_out[name] = f"{type(error).__name__}: {error}"
            return
        if not padded_inputs.masks_a_medium(whole):
            return
        if not any_arguments:
            known = whole.keys() <= self.base.keys()
            self.found.left_out[name] = CONVERTED if known else OTHER_ARGUMENTS
            return
        for kind in (SHORT, HIDDEN):
            try:
                short = case.inputs(kind + medium)
                rows = padded_inputs.rows_of_medium(whole, short)
                if rows is None:  # no mask of this medium
                    continue
                brief = case.reference(short, self.dtype)
                inputs = padded_inputs.joined(whole, short, rows, case.padding())
                if kind == HIDDEN and padded_inputs.COUNTED[medium] not in exemptions_of(case):
                    inputs = padded_inputs.emptied(inputs, whole, rows, medium)
            except Exception as error:  # whatever the library says to a size it does not take
                self.found.left_out[name] = f"{type(error).__name__}: {error}"
                continue
            self.found.left_out.pop(name, None)
            want = case.reference(whole, self.dtype)
            # A mask of as many frames as there are rows has no score of two rows.
            square = padded_outputs.pairs_of_rows(brief, None, rows, 0)
            pairs = [n for n in self._pairs_of_rows(want, rows) if n in square]
            self._judge(name, name, inputs, _Unpadded(want, brief, rows, None, pairs))
            return

    def _judge(self, name: str, batch: str, inputs: Arrays, unpadded: _Unpadded) -> None:
        """Adds one variant.

        Args:
            name: of the variant.
            batch: the variant whose side and exemptions it shares.
            inputs: the padded ones.
            unpadded: what they are held against.
        """
        side = padded_inputs.SIDES.get(batch, "right")
        want, brief, rows = unpadded.want, unpadded.brief, unpadded.rows
        try:
            outputs = self.case.reference(inputs, self.dtype)
        except Unsupported as error:
            self.found.left_out[name] = str(error)
            return
        except Exception as error:
            self.found.failed[name] = error
            self.found.left_out[name] = f"{type(error).__name__}: {error}"
            return
        real = padded_outputs.real(outputs, want, brief, rows, side, unpadded.lengths)
        if not padded_outputs.finite(outputs, real):
            # A softmax in float32 of scores that are masked with the least float64 is 0 / 0.
            outputs = self.case.reference(inputs, "float32")
        table = exemptions_of(self.case)
        exempt = [table.get(key, NO_EXEMPTION) for key in {batch, name}]
        judged = {n: a for n, a in outputs.items() if not any(e.covers(n) for e in exempt)}
        violation = padded_outputs.violation(judged, want, brief, real, rows, unpadded.pairs)
        if violation:
            self.wrong.append(f"on input {name!r}: {violation}")
        self.found.made.append(Variant(name, inputs, outputs, real))

    def _pairs_of_rows(self, want: Arrays, rows: int) -> list[str]:
        """The outputs with a score of each row with each other one; another batch tells."""
        alike = padded_outputs.pairs_of_rows(want, None, rows, 0)
        if not alike:
            return []
        try:
            inputs = self.case.inputs(RESHAPED)
            reshaped = self.case.reference(inputs, self.dtype)
        except Exception:  # whatever the library says to a batch that it does not take
            return alike
        others = next(len(a) * rows // len(self.base[n]) for n, a in inputs.items() if a.ndim)
        return padded_outputs.pairs_of_rows(want, reshaped, rows, others)


def _own_row(outputs: Arrays, rows: int, pairs: list[str]) -> Arrays:
    """The last row's outputs, as those of a batch of one; without those of all rows together."""
    by_row = {n: a for n, a in outputs.items() if padded_inputs.holds_rows(a, rows)}
    last = padded_inputs.last_row(by_row, rows)
    return {name: a[:, -1:] if name in pairs else a for name, a in last.items()}
