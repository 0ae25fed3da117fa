"""Arguments that are series of numbers over time."""

from __future__ import annotations

import numpy as np

from harness.contract import Array
from harness.inputs.input_maker import Function, InputMaker


def _past_values(m: InputMaker) -> Array:
    length = m.find("context_length", "seq_length", default=32)
    channels = m.find("num_input_channels", "input_size", default=1)
    lags = m.find("lags_sequence")
    if isinstance(lags, list | tuple):
        length = length + max(lags)
    if m.recipe.options.get("rank") == 2 or (
        not isinstance(lags, list | tuple) and m.find("num_input_channels") is None
    ):
        return m.floats("past_values", m.batch, int(length))
    return (
        m.floats("past_values", m.batch, int(length), int(channels))
        if channels != 1 or lags is None
        else m.floats("past_values", m.batch, int(length))
    )


def _past_mask(m: InputMaker) -> Array:
    return np.ones(m.made["past_values"].shape, dtype=np.float32)


def _past_time_features(m: InputMaker) -> Array:
    return m.floats(
        "past_time_features",
        m.batch,
        m.made["past_values"].shape[1],
        int(m.find("num_time_features", default=1)),
    )


def _future_time_features(m: InputMaker) -> Array:
    return m.floats(
        "future_time_features",
        m.batch,
        int(m.find("prediction_length", default=8)),
        int(m.find("num_time_features", default=1)),
    )


def _future_values(m: InputMaker) -> Array:
    shape = (m.batch, int(m.find("prediction_length", default=8)))
    return m.floats("future_values", *shape, *m.made["past_values"].shape[2:])


ARGUMENTS: dict[str, Function] = {
    "past_values": _past_values,
    "past_observed_mask": _past_mask,
    "past_time_features": _past_time_features,
    "future_time_features": _future_time_features,
    "future_values": _future_values,
    "trajectories": lambda m: m.tokens("trajectories", m.batch, m.length),
    # Floating, as the heads for prediction make it: a mask that is made of integers overflows.
    "past_values_padding": lambda m: np.zeros(m.made["past_values"].shape, dtype=np.float32),
    "freq": lambda m: m.ints("freq", (m.batch, 1), 0, int(m.find("freq_size", default=1))),
}
