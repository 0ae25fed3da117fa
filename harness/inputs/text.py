"""Arguments that are text, or vectors in its place."""

from __future__ import annotations

import numpy as np

from harness.contract import PROCESSED, WITH_VIDEO, Array
from harness.inputs.input_maker import Function, InputMaker
from harness.inputs.placeholders import media

PHRASE = 8  # tokens of a prompt that names a class or a task
CELLS = 3  # columns of a table, and rows
CLASSES = 3  # classes to look for in one image


def _input_ids(m: InputMaker) -> Array:
    streams = m.recipe.options.get("streams")
    if streams:  # a token of text and one of each codebook at every step
        return m.tokens("input_ids", m.batch, m.length, int(streams))
    ids = m.tokens("input_ids", m.batch, m.length)
    extra = m.placeholders
    if extra:
        media = [token for token, count in extra.items() for _ in range(count)]
        body = np.tile(np.array(media, dtype=np.int64), (m.batch, 1))
        ids = np.concatenate([ids[:, : m.length // 2], body, ids[:, m.length // 2 :]], axis=1)
    eos = m.find("eos_token_id", within=m.text)
    if isinstance(eos, int) and 0 <= eos < m.vocabulary and not extra:
        ids[:, -1] = eos  # CLIP-style pooling reads the position of the end token
    return ids


def _attention_mask(m: InputMaker) -> Array | None:
    for name in ("input_ids", "inputs_embeds"):
        if name in m.made:
            return np.ones(m.made[name].shape[:2], dtype=np.int64)
    if "input_values" in m.made:
        values = m.made["input_values"]
        return m.hidden("sound", np.ones((len(values), values.shape[-1]), dtype=np.int64), 1)
    if m.masked == "sound" and "input_features" in m.made:
        frames = m.made["input_features"].shape[2 if m.mels_first else 1]
        return m.hidden("sound", np.ones((m.batch, frames), dtype=np.int64), 1)
    return None


def _decoder_input_ids(m: InputMaker) -> Array:
    decoder = getattr(m.config, "decoder", None)
    size = (
        getattr(decoder, "vocab_size", None)
        or getattr(m.config, "decoder_vocab_size", None)
        or getattr(m.config, "tgt_vocab_size", None)
    )
    rows = m.batch * int(m.recipe.options.get("decoder_streams", 1))
    return m.tokens(
        "decoder_input_ids",
        rows,
        max(4, m.length // 2),
        vocabulary=size if isinstance(size, int) else None,
    )


def _bbox(m: InputMaker) -> Array:
    """Left, top, right and bottom of each word."""
    corners: Array = np.sort(m.ints("bbox", (m.batch, m.length, 4), 0, 100), axis=-1)
    return corners


def _inputs_embeds(m: InputMaker) -> Array:
    return m.floats(
        "inputs_embeds",
        m.batch,
        m.length,
        int(m.find("hidden_size", "d_model", "n_embd", default=64, within=m.text) or 64),
    )


def _phrases(name: str, each: int) -> Function:
    """Short texts, so many for each example."""
    return lambda m: m.tokens(name, m.batch * each, PHRASE)


def _phrase_mask(each: int) -> Function:
    return lambda m: np.ones((m.batch * each, PHRASE), dtype=np.int64)


def _context_hidden_states(m: InputMaker) -> Array:
    """Hidden states of the layers of the main model that a drafting model reads, side by side."""
    layers = m.find("target_layer_ids", default=[0])
    return m.floats("context_hidden_states", m.batch, m.length, m.width * len(layers))


def _encoder_hidden_states(m: InputMaker) -> Array:
    """Hidden states of an encoder, which has read a text half as long."""
    width = m.find("cross_attention_hidden_size", default=m.width)
    length = m.less("condition", m.length // 2)
    return m.floats("encoder_hidden_states", m.batch, length, int(width))


def _encoder_attention_mask(m: InputMaker) -> Array | None:
    states = m.made.get("encoder_hidden_states")
    if states is None:
        return None
    return m.hidden("condition", np.ones(states.shape[:2], dtype=np.int64), 1)


def _mm_token_types(m: InputMaker) -> Array | None:
    ids = m.made.get("input_ids")
    if ids is None or not m.placeholders:
        return None if ids is None else np.zeros(ids.shape, dtype=np.int64)
    types = np.isin(ids, list(m.placeholders)).astype(np.int64)
    if m.variant == WITH_VIDEO:
        for number, kind in enumerate(media(), start=1):  # 1 for an image, 2 for a video
            types[np.isin(ids, [i for i in map(m.find, media()[kind].ids) if i is not None])] = (
                number
            )
    return types


def _token_types(m: InputMaker) -> Array | None:
    """0 for the prompt, 1 for the answer after it: the last quarter of the text.

    Tokens with several types each, as TAPAS has them (segment, column, row, ...), are a question
    and a table: 0 in the first quarter of the text, which is no cell, and after it some cell.
    """
    ids = m.made.get("input_ids")
    if ids is None:
        return None
    sizes = m.find("type_vocab_sizes")
    if sizes:
        cells = [
            m.ints(f"token_type_ids/{kind}", ids.shape, 1, min(int(size), CELLS + 1))
            for kind, size in enumerate(sizes)
        ]
        in_table = np.arange(ids.shape[1]) >= ids.shape[1] // 4
        return np.ascontiguousarray(np.stack(cells, axis=-1) * in_table[:, None])
    if m.variant == PROCESSED and m.placeholders:  # Gemma 3 sees the tokens of an image as a block
        return np.isin(ids, list(m.placeholders)).astype(np.int64)
    answer = np.arange(ids.shape[1]) >= ids.shape[1] * 3 // 4
    types = 2 if m.variant != PROCESSED else int(m.find("type_vocab_size", default=2))
    return np.tile(answer.astype(np.int64) * (types > 1), (ids.shape[0], 1))


ARGUMENTS: dict[str, Function] = {
    "input_ids": _input_ids,
    "attention_mask": _attention_mask,
    "decoder_input_ids": _decoder_input_ids,
    "inputs_embeds": _inputs_embeds,
    "decoder_attention_mask": lambda m: (
        np.ones(m.made["decoder_input_ids"].shape[:2], dtype=np.int64)
        if "decoder_input_ids" in m.made
        else None
    ),
    "qformer_attention_mask": lambda m: (
        np.ones(m.made["qformer_input_ids"].shape, dtype=np.int64)
        if "qformer_input_ids" in m.made
        else None
    ),
    "bbox": _bbox,
    "mm_token_type_ids": _mm_token_types,
    "token_type_ids": _token_types,
    "qformer_input_ids": lambda m: m.tokens(
        "qformer_input_ids",
        m.batch,
        8,
        vocabulary=m.find("vocab_size", within=getattr(m.config, "qformer_config", m.config))
        or 128,
    ),
    "context_input_ids": lambda m: m.tokens(
        "context_input_ids", m.batch * int(m.find("n_docs", default=2)), m.length
    ),
    "context_attention_mask": lambda m: np.ones(m.made["context_input_ids"].shape, dtype=np.int64),
    "doc_scores": lambda m: m.floats("doc_scores", m.batch, int(m.find("n_docs", default=2))),
    "protein_input_ids": lambda m: m.tokens(
        "protein_input_ids",
        m.batch,
        m.length,
        vocabulary=m.find("vocab_size", within=m.find("protein_encoder_config")),
    ),
    "protein_attention_mask": lambda m: np.ones((m.batch, m.length), dtype=np.int64),
    "classes_input_ids": _phrases("classes_input_ids", CLASSES),
    "classes_attention_mask": _phrase_mask(CLASSES),
    "classes_structure": lambda m: np.full(m.batch, CLASSES, dtype=np.int64),
    "tasks_input_ids": _phrases("tasks_input_ids", 1),
    "tasks_attention_mask": _phrase_mask(1),
    "noise_embeds": lambda m: m.floats(
        "noise_embeds", m.batch, int(m.find("block_size", default=8)), m.width
    ),
    "context_hidden_states": _context_hidden_states,
    "encoder_hidden_states": _encoder_hidden_states,
    "encoder_attention_mask": _encoder_attention_mask,
    "inputs": lambda m: m.floats(
        "inputs", m.batch, m.length, int(m.find("d_model", "hidden_size", default=64))
    ),
    "task_inputs": lambda m: m.tokens(
        "task_inputs",
        m.batch,
        int(m.find("task_seq_len", default=m.length)),
        vocabulary=m.find("text_encoder_vocab_size"),
    ),
    "image_attention_mask": lambda m: np.ones((m.batch, m.length, 1), dtype=np.int64),
    "lengths": lambda m: None,
}
