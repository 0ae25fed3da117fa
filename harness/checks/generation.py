"""Greedy decoding, checked: logits and tokens of every step against one pass of the reference.

Generation uses a key-value cache, which a single inference never does. The reference has none: it
reads the whole sequence at once. A cache that forgets, repeats or misplaces a token moves the
logits of the next step, often without another token becoming the likeliest: a tiny model with tied
embeddings, as `gpt2` is, repeats itself whatever it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.contract import GENERATED_TOKENS, Array, Arrays, CheckFailed, Generation, Inconclusive
from harness.toolkit.numerics import LIMIT, has_value

#: Inputs with a value for each token whose last column holds for new tokens too, as `generate()`
#: has it; and kinds of tokens (text, image), where new tokens are text: 0.
CONTINUED = ("attention_mask", "image_attention_mask", "cross_attention_mask", "token_type_ids")
TEXT = ("mm_token_type_ids", "image_embeds_position_mask")

#: How the names of outputs with a score for each token end; `transfo_xl` has the second.
LOGITS_OF = ("logits", "prediction_scores")

#: The input on which logits differ, as a reason names it.
LOGITS = "while generating"

#: How far a logit may lie from the reference's, in noise floors times the logits' RMS: a floor is
#: an error in L2, and one of some hundred values may have four times its share; two are compared.
SPREAD = 8.0

#: The share of other tokens that the check must be able to refuse.
POWER = 0.5


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgement of a generated sequence."""

    tokens: int  # that were judged
    score: float  # the worst logit's distance from the best, in noise floors; at most LIMIT


def steps_of(sequences: Array, logits: Array, began: int) -> Array:
    """The logits by which each generated token was to be chosen.

    Args:
        sequences: (batch, began + tokens) token ids.
        logits: (batch, began + tokens, vocabulary), of one inference on `sequences`.
        began: the number of given tokens.

    Returns:
        (batch, tokens, vocabulary).
    """
    return logits[:, began - 1 : sequences.shape[1] - 1]


def judge(
    begun: Array, generated: Generation, sequences: Array, steps: Array, floor: float
) -> Judged:
    """Check that each generated token is, up to rounding, the reference's likeliest.

    Args:
        begun: the token ids that generation began with, (batch, length).
        generated: how it went on.
        sequences: (batch, length + tokens) token ids.
        steps: (batch, tokens, vocabulary), of the reference, by which each was to be chosen.
        floor: the noise floor.

    Raises:
        CheckFailed: a token is another.
        Inconclusive: the floor is so high that half of all other tokens would pass too.
    """
    began = begun.shape[1]
    chosen = sequences[:, began:, None]
    steps = steps.astype(np.float64)
    steps[..., [i for i in generated.suppressed if i < steps.shape[-1]]] = -np.inf
    likely = has_value(steps)
    unit = SPREAD * floor * float(np.sqrt(np.mean(steps[likely] ** 2)))
    with np.errstate(over="ignore"):  # a masked token is infinitely far away
        distances = (steps.max(axis=-1, keepdims=True) - steps) / unit
    if np.mean(distances > LIMIT) < POWER:
        raise Inconclusive(
            f"generate: with a noise floor of {floor:.2g}, {np.mean(distances <= LIMIT):.0%} of "
            "all tokens would pass for the likeliest"
        )
    found = np.take_along_axis(distances, chosen, axis=-1)[..., 0]
    if found.max() > LIMIT:
        row, step = np.unravel_index(int(found.argmax()), found.shape)
        best = int(steps[row, step].argmax())
        raise CheckFailed(
            f"generate: token {step + 1} of row {row}: expected {best}, whose logit is "
            f"{steps[row, step, best]:.4g}, got {chosen[row, step, 0]} with "
            f"{steps[row, step, chosen[row, step, 0]]:.4g}"
        )
    return Judged(chosen.shape[1], float(found.max()))


def check_sequences(sequences: Array, given: Array, vocabulary: int) -> None:
    """Check that generated sequences go on from the given tokens, with tokens that there are.

    Args:
        sequences: (batch, length + tokens) token ids.
        given: (batch, length) token ids that generation began with.
        vocabulary: how many tokens there are.

    Raises:
        CheckFailed: they don't.
    """
    began = given.shape[1]
    if sequences.shape[1] <= began or (sequences[:, :began] != given).any():
        raise CheckFailed(
            f"generate: expected {began} given tokens and more after them, found shape "
            f"{sequences.shape}"
        )
    chosen = sequences[:, began:]  # a given one may stand for an image, beyond the vocabulary
    unknown = chosen[(chosen < 0) | (chosen >= vocabulary)]
    if unknown.size:
        raise CheckFailed(
            f"generate: expected token ids from 0 to {vocabulary - 1}, found {unknown[0]}"
        )


def check_count(sequences: Array, given: Array) -> None:
    """Check that a pipeline generates as many tokens as the model's `generation_config` says.

    Args:
        sequences: (batch, length + tokens) token ids.
        given: (batch, length) token ids that generation began with.

    Raises:
        CheckFailed: it generates more, or fewer.
    """
    found = sequences.shape[1] - given.shape[1]
    if found != GENERATED_TOKENS:
        raise CheckFailed(
            f"pipeline: expected max_new_tokens = {GENERATED_TOKENS}, as the model's "
            f"generation_config says, found {found} new tokens"
        )


def prompt(inputs: Arrays, argument: str) -> Arrays:
    """The prompt of generation: a whole text, or the start token behind an encoder."""
    if not argument.startswith("decoder_"):
        return inputs
    return {n: a[:, :1] if n.startswith("decoder_") else a for n, a in inputs.items()}


def extended(fed: Arrays, generated: Generation, sequences: Array) -> Arrays:
    """The inputs of one inference over all of a generated sequence.

    What goes with each token of the argument grows with it: masks as they end, types of tokens
    as the model gives them to what it generates.

    Args:
        fed: what generation began with.
        generated: how the model generates.
        sequences: (batch, length + tokens) token ids.
    """
    argument = generated.argument
    shape = fed[argument].shape
    more = sequences.shape[1] - shape[1]
    own = "decoder_" if argument.startswith("decoder_") else ""
    made: dict[str, Array] = {}
    for name, array in fed.items():
        if name == argument:
            made[name] = sequences.astype(array.dtype)
        elif name in generated.types or (name in TEXT and not own):
            kind = np.full_like(array[:, -1:], generated.types.get(name, 0))
            made[name] = _grown(array, kind, more)
        elif name in {own + each for each in CONTINUED} and array.shape[:2] == shape:
            made[name] = _grown(array, array[:, -1:], more)
        else:
            made[name] = array
    return made


def _grown(array: Array, last: Array, more: int) -> Array:
    return np.concatenate([array, np.repeat(last, more, axis=1)], axis=1)


def token_logits(outputs: Mapping[str, Array], length: int) -> Array:
    """The logits of each token: (batch, length, vocabulary).

    `git` gives those of its image's patches before them, which are left out.

    Args:
        outputs: of a model.
        length: tokens of the text that it read.

    Raises:
        CheckFailed: the model has no logits.
    """
    return logits_of(outputs)[:, -length:]


def logits_of(outputs: Mapping[str, Array]) -> Array:
    """The logits among a model's outputs.

    Raises:
        CheckFailed: it has none.
    """
    for name, array in outputs.items():
        if name.endswith(LOGITS_OF) and array.ndim == 3:
            return array
    raise CheckFailed(f"generate: expected an output called logits, found {sorted(outputs)}")
