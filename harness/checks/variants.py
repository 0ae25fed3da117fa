"""Variants of the inputs, on which converters that bake shapes or masks are silently wrong.

Every variant goes through the reference and through the backend, as the plain inputs do:

    left-padded, right-padded   one row of the batch is shorter, where the model takes a mask
    left-padded-row, ...        the same row as a batch of its own
    sound-padded, image-padded, condition-padded
                                one row has less of that medium, where the model takes a mask of it
    reshaped                    another batch size and length
    processed, with-video       with arguments that processors send, and a plain call leaves out
    odd-size, other-size        an image whose sides are odd; else one twice as wide

Which of them a model does not take is known when its reference has been asked; each that is left
out is recorded with the cell. `toolkit/padding_exemptions.toml` says which models need not give
a padded row what they give it without padding, and why.
"""

from __future__ import annotations

from harness.checks.padding import Padding
from harness.checks.variant import ONE_SHAPE, OTHER_ARGUMENTS, Variant, Variants
from harness.contract import PROCESSED, RESHAPED, SIZES, WITH_VIDEO, Arrays, Case, Unsupported
from harness.toolkit import padded_inputs

#: Arguments that hold images, as pixels or as rows of patches.
IMAGES = ("pixel_values", "pixel_values_videos", "image_pixel_values", "hidden_states", "sample")


def of(
    case: Case,
    base: Arrays,
    want: Arrays,
    dtype: str,
    *,
    dynamic: bool = True,
    any_arguments: bool = True,
) -> Variants:
    """The variants that a model takes, each with the reference on it.

    Args:
        case: whose inputs vary.
        base: its plain inputs.
        want: the reference's outputs on them.
        dtype: of the reference.
        dynamic: whether the program that is to be compared takes other shapes than the base's.
        any_arguments: whether it takes arguments that the base lacks.

    Returns:
        The variants, with a `padding_fault` where the reference gives a real element of a padded
        row something else than without padding, and the model is not exempt from that.
    """
    found = Variants()
    padding = Padding(found, case, base, dtype)
    padding.add(want, dynamic=dynamic, any_arguments=any_arguments)
    _reshaped(found, case, base, dtype, dynamic=dynamic)
    if not dynamic:
        found.left_out |= dict.fromkeys(SIZES, ONE_SHAPE)
        return found
    if any(name in base for name in IMAGES):
        for name in SIZES:
            if _reshape(found, name, case, base, dtype):
                break
    for name in (PROCESSED, WITH_VIDEO):
        _further_arguments(found, name, case, base, dtype, any_arguments=any_arguments)
    # A program that takes one shape shall fail on another shape, not on a mask.
    found.made.sort(key=lambda variant: variant.name in padded_inputs.ROWS.values())
    return found


def of_shape(case: Case, base: Arrays, dtype: str, *, dynamic: bool = True) -> Variants:
    """The variant of another batch and length alone, which is about the program, not the model.

    Args:
        case: whose inputs vary.
        base: its plain inputs.
        dtype: of the reference.
        dynamic: whether the program that is to be compared takes other shapes than the base's.
    """
    found = Variants()
    _reshaped(found, case, base, dtype, dynamic=dynamic)
    return found


def _reshaped(found: Variants, case: Case, base: Arrays, dtype: str, *, dynamic: bool) -> None:
    if dynamic:
        _reshape(found, RESHAPED, case, base, dtype)
    else:
        found.left_out[RESHAPED] = ONE_SHAPE


def _further_arguments(
    found: Variants, name: str, case: Case, base: Arrays, dtype: str, *, any_arguments: bool
) -> None:
    """Adds inputs with more arguments than the plain ones, where the model takes them."""
    try:
        inputs = case.inputs(name)
        if inputs.keys() <= base.keys():
            return
        if not any_arguments:
            found.left_out[name] = OTHER_ARGUMENTS
            return
        found.made.append(Variant(name, inputs, case.reference(inputs, dtype)))
    except Exception as error:  # whatever the library says to arguments that it does not take
        found.left_out[name] = f"{type(error).__name__}: {error}"


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
