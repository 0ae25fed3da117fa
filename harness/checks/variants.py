"""Variants of the inputs, on which converters that bake shapes or masks are silently wrong.

Every variant goes through the reference and through the backend, as the plain inputs do:

    left-padded, right-padded   one row of the batch is shorter, where the model takes a mask
    reshaped                    another batch size and length
    odd-size, other-size        an image whose sides are odd; else one twice as wide

Which of them a model does not take is known when its reference has been asked; each that is left
out is recorded with the cell. `toolkit/padding_exemptions.toml` says which models need not give
a padded row what they give it without padding, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checks import padded_outputs
from harness.contract import RESHAPED, SIZES, Arrays, Case, CheckFailed, Unsupported
from harness.toolkit import padded_inputs
from harness.toolkit.padding_exemptions import NO_EXEMPTION, PADDED, exemptions_of

#: Arguments that hold images, as pixels or as rows of patches.
IMAGES = ("pixel_values", "pixel_values_videos", "image_pixel_values", "hidden_states", "sample")


@dataclass(frozen=True, slots=True)
class Variant:
    """A further input, and what the reference gives on it."""

    name: str
    inputs: Arrays
    outputs: Arrays
    real: Arrays = field(default_factory=dict)  # output -> which elements count; all, if not named


@dataclass(slots=True)
class Variants:
    """The variants that a model takes, and the reason why it does not take each of the others."""

    made: list[Variant] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Variant | None:
        """The one of that name, if the model takes it."""
        return next((variant for variant in self.made if variant.name == name), None)


def of(case: Case, base: Arrays, want: Arrays, dtype: str, *, dynamic: bool = True) -> Variants:
    """The variants that a model takes, each with the reference on it.

    Args:
        case: whose inputs vary.
        base: its plain inputs.
        want: the reference's outputs on them.
        dtype: of the reference.
        dynamic: whether the program that is to be compared takes other shapes than the base's.

    Raises:
        CheckFailed: the reference gives a real token of a padded row something else than without
            padding, and the model is not exempt from that.
    """
    found = Variants()
    _pad(found, case, base, want, dtype)
    if not dynamic:
        for name in (RESHAPED, *SIZES):
            found.left_out[name] = "the backend's programs take one shape"
        return found
    _reshape(found, RESHAPED, case, base, dtype)
    if any(name in base for name in IMAGES):
        for name in SIZES:
            if _reshape(found, name, case, base, dtype):
                break
    return found


def _reshape(found: Variants, name: str, case: Case, base: Arrays, dtype: str) -> bool:
    """Whether the model takes inputs of other shapes; then they are added."""
    try:
        inputs = case.inputs(name)
        if all(array.shape == base[n].shape for n, array in inputs.items() if n in base):
            raise Unsupported("its inputs have the shapes of the plain ones")
        found.made.append(Variant(name, inputs, case.reference(inputs, dtype)))
    except Exception as error:  # whatever the library says to a shape that it does not take
        found.left_out[name] = f"{type(error).__name__}: {error}"
        return False
    return True


def _pad(found: Variants, case: Case, base: Arrays, want: Arrays, dtype: str) -> None:
    """Adds the padded batches that a model takes.

    Raises:
        CheckFailed: padding changes what real tokens give.
    """
    if not padded_inputs.can_be_padded(base):
        return
    exempt = exemptions_of(case)
    if PADDED in exempt:
        found.left_out |= dict.fromkeys(padded_inputs.SIDES, exempt[PADDED].reason)
        return
    short, mask = padded_inputs.shortened(base), base[padded_inputs.MASK]
    try:
        brief = case.reference(short, dtype)
    except Unsupported as error:
        found.left_out |= dict.fromkeys(padded_inputs.SIDES, str(error))
        return
    pairs = _pairs_of_rows(case, want, dtype, len(mask))
    wrong = []
    for name, inputs in padded_inputs.padded_batches(case, base).items():
        side = padded_inputs.SIDES[name]
        outputs = case.reference(inputs, dtype)
        real = padded_outputs.real(outputs, want, brief, mask, side)
        if not padded_outputs.finite(outputs, real):
            # A softmax in float32 of scores that are masked with the least float64 is 0 / 0.
            outputs = case.reference(inputs, "float32")
        judged = {n: a for n, a in outputs.items() if not exempt.get(name, NO_EXEMPTION).covers(n)}
        violation = padded_outputs.violation(judged, want, brief, real, len(mask), pairs)
        if violation:
            wrong.append(f"on input {name!r}: {violation}")
        found.made.append(Variant(name, inputs, outputs, real))
    if wrong:
        raise CheckFailed("; ".join(wrong))


def _pairs_of_rows(case: Case, want: Arrays, dtype: str, rows: int) -> list[str]:
    """The outputs with a score of each row with each other one; a batch of another size tells."""
    alike = padded_outputs.pairs_of_rows(want, None, rows, 0)
    if not alike:
        return []
    try:
        inputs = case.inputs(RESHAPED)
        reshaped = case.reference(inputs, dtype)
    except Exception:  # whatever the library says to a batch that it does not take
        return alike
    others = len(inputs[padded_inputs.MASK])
    return padded_outputs.pairs_of_rows(want, reshaped, rows, others)
