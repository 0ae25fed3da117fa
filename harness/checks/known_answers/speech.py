"""Known answer of speech: the words of a recording."""

from __future__ import annotations

import re
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.checks.known_answers.answer import ROWS, KnownAnswer, like
from harness.checks.known_answers.rows import Row
from harness.contract import Array, Arrays, Case
from harness.models.eager_reference import tensors

#: The most tokens of a transcript.
TOKENS = 24

#: Middle and reach of the values of a recording with 8 bits.
_MIDDLE, _REACH = 128.0, 128.0


def transcript(row: Row, case: Case, tokenizer: Any, extractor: Any) -> KnownAnswer | None:
    """The words that a model hears: of its decoder, or by connectionist temporal classification.

    Args:
        row: the recording, and its words.
        case: the model.
        tokenizer: of its checkpoint.
        extractor: of its checkpoint: makes features of sound.
    """
    base = case.inputs()
    rate = int(extractor.sampling_rate)
    sound = recording(Path(__file__).with_name(row.sound), rate)
    made = extractor([sound] * ROWS, sampling_rate=rate, return_tensors="np")
    decodes = "decoder_input_ids" in base
    heard = like({n: a for n, a in base.items() if not n.startswith("decoder_")}, made)
    if heard is None or any(n.startswith("decoder_") and n != "decoder_input_ids" for n in base):
        return None
    inputs = {**heard, **(_written(case, heard) if decodes else {})}

    def answer(outputs: Mapping[str, Array]) -> tuple[str, bool]:
        tokens = np.argmax(outputs["logits"][0], axis=-1)
        text = str(tokenizer.decode(tokens.tolist(), skip_special_tokens=True))
        return repr(text), words_in_order(text, row.expected) >= row.least

    question = f"the recording {row.sound}"
    expected = f"{row.least} of the words {', '.join(row.expected)} in order"
    return KnownAnswer(question, expected, inputs, answer)


def words_in_order(text: str, expected: Sequence[str]) -> int:
    """How many of the expected words a text has, one after the other.

    Args:
        text: a transcript.
        expected: words, each with its other spellings behind `|`.
    """
    left = re.findall(r"\w+", text.lower())
    count = 0
    for spellings in expected:
        place = next((i for i, word in enumerate(left) if word in spellings.split("|")), None)
        if place is not None:
            count += 1
            left = left[place + 1 :]
    return count


def recording(path: Path, rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The samples of a WAV file with 8 bits and one channel, from -1 to 1, at another rate.

    Args:
        path: of the file.
        rate: samples a second.
    """
    with wave.open(str(path), "rb") as file:
        own = file.getframerate()
        raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    samples = (raw.astype(np.float64) - _MIDDLE) / _REACH
    count = len(samples) * rate // own
    return np.interp(np.arange(count) * own / rate, np.arange(len(samples)), samples).astype(
        np.float32
    )


def _written(case: Case, heard: Arrays) -> Arrays:
    """The decoder's input: the tokens that the model itself writes of a recording, in float32."""
    import torch

    module = case.module()
    settings = {"max_new_tokens": TOKENS, "do_sample": False, "num_beams": 1}
    with torch.no_grad():
        found = module.generate(**tensors(heard, torch.float32), **settings)
    tokens = getattr(found, "sequences", found).numpy()
    start = int(module.generation_config.decoder_start_token_id or tokens[0, 0])
    if tokens[0, 0] != start:
        tokens = np.concatenate([np.full((len(tokens), 1), start), tokens], axis=1)
    return {"decoder_input_ids": tokens[:, :-1].astype(np.int64)}
