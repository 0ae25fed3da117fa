"""Arguments that are sound: samples, spectra, latents of a codec."""

from __future__ import annotations

import numpy as np

from harness.contract import Array
from harness.inputs.input_maker import Function, InputMaker


def _input_features(m: InputMaker) -> Array:
    shape = (m.mels, m.mel_frames) if m.mels_first else (m.mel_frames, m.mels)
    return m.floats("input_features", m.batch, *shape)


def _input_values(m: InputMaker) -> Array:
    rank = m.recipe.options.get("rank") or len(m.documented("input_values"))
    if m.find("max_length", "num_mel_bins") and hasattr(m.config, "frequency_stride"):
        return m.floats(
            "input_values", m.batch, int(m.find("max_length")), int(m.find("num_mel_bins"))
        )
    if rank == 3 or (not rank and isinstance(m.find("audio_channels"), int)):
        return m.floats("input_values", m.batch, m.find("audio_channels", default=1), m.samples)
    return m.floats("input_values", m.batch, m.samples)


def _padding_mask(m: InputMaker) -> Array | None:
    """Which samples are no padding; in plain inputs only where features can't be had without."""
    if not (m.masked == "sound" or m.extractor_requires("padding_mask")):
        return None
    for name in ("input_values", "input_features"):
        if name in m.made:
            return m.hidden("sound", np.ones((m.batch, m.made[name].shape[-1]), dtype=np.int64), 1)
    return None


def _speaker_embeddings(m: InputMaker) -> Array:
    return m.floats("speaker_embeddings", m.batch, int(m.find("speaker_embedding_dim", default=64)))


def _latents(m: InputMaker) -> Array:
    width = int(m.find("hidden_size", "latent_dim", default=64))
    channels_first = m.documented("latents")[-1:] == ("frames",)
    return m.floats(
        "latents", m.batch, *((width, m.length) if channels_first else (m.length, width))
    )


def _feature_mask(m: InputMaker) -> Array | None:
    """One flag a frame of the spectrum."""
    array = m.made.get("input_features")
    if array is None:
        return None
    frames = array.shape[2 if m.mels_first else 1]
    return m.hidden("sound", np.ones((array.shape[0], frames), dtype=np.bool_), 1)


def _audio_values(m: InputMaker) -> Array:
    """A spectrogram as an image: one channel, time by frequency."""
    channels = int(m.find("num_audio_channels", default=1))
    sides = (int(m.find(name, default=64)) for name in ("spectrogram_length", "frequency_length"))
    return m.floats("audio_values", m.batch, channels, *sides)


def _input_values_mask(m: InputMaker) -> Array | None:
    """Which samples are no padding."""
    values = m.made.get("input_values")
    if values is None:
        return None
    return m.hidden("sound", np.ones((len(values), values.shape[-1]), dtype=np.int64), 1)


ARGUMENTS: dict[str, Function] = {
    "input_features": _input_features,
    "input_values": _input_values,
    "speaker_embeddings": _speaker_embeddings,
    "input_features_mask": _feature_mask,
    "audio_mel": _input_features,
    "audio_mel_mask": lambda m: np.zeros(m.made["audio_mel"].shape[:2], dtype=np.bool_),
    "feature_attention_mask": _feature_mask,
    "audio_values": _audio_values,
    "raw_audio": lambda m: m.floats(
        "raw_audio", m.batch, m.samples, int(m.find("conv_input_shape", default=1))
    ),
    "input_values_mask": _input_values_mask,
    "padding_mask": _padding_mask,
    "latents": _latents,
    "noise_sequence": lambda m: m.floats(
        "noise_sequence", *m.made["input_features"].shape[:2], int(m.find("model_in_channels"))
    ),
    "sample": lambda m: np.array(False),  # a random draw would differ from run to run
}
