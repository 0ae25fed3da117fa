"""Guess of a new architecture's family and task, from its heads, inputs and config fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.catalog.installed import InstalledLibrary

#: From the head of an architecture to its family and task; the first that it has decides.
_BY_HEAD: tuple[tuple[str, str, str], ...] = (
    ("TIME_SERIES_PREDICTION", "time-series", "time-series-forecasting"),
    ("AUDIO_TOKENIZATION", "speech", "audio-tokenization"),
    ("TEXT_TO_WAVEFORM", "speech", "text-to-speech"),
    ("TEXT_TO_SPECTROGRAM", "speech", "text-to-speech"),
    ("CTC", "speech", "automatic-speech-recognition"),
    ("RNNT", "speech", "automatic-speech-recognition"),
    ("TDT", "speech", "automatic-speech-recognition"),
    ("AUDIO_XVECTOR", "speech", "audio-classification"),
    ("AUDIO_FRAME_CLASSIFICATION", "speech", "audio-frame-classification"),
    ("AUDIO_CLASSIFICATION", "speech", "audio-classification"),
    ("IMAGE_TEXT_TO_TEXT", "multimodal", "image-text-to-text"),
    ("MULTIMODAL_LM", "multimodal", "audio-text-to-text"),
    ("SPEECH_SEQ_2_SEQ", "speech", "automatic-speech-recognition"),
    ("ZERO_SHOT_IMAGE_CLASSIFICATION", "multimodal", "zero-shot-image-classification"),
    ("ZERO_SHOT_OBJECT_DETECTION", "multimodal", "zero-shot-object-detection"),
    ("VISUAL_QUESTION_ANSWERING", "multimodal", "visual-question-answering"),
    ("OBJECT_DETECTION", "vision", "object-detection"),
    ("DEPTH_ESTIMATION", "vision", "depth-estimation"),
    ("UNIVERSAL_SEGMENTATION", "vision", "image-segmentation"),
    ("SEMANTIC_SEGMENTATION", "vision", "image-segmentation"),
    ("MASK_GENERATION", "vision", "mask-generation"),
    ("KEYPOINT_DETECTION", "vision", "keypoint-detection"),
    ("KEYPOINT_MATCHING", "vision", "keypoint-matching"),
    ("TEXT_RECOGNITION", "vision", "text-recognition"),
    ("VIDEO_CLASSIFICATION", "vision", "video-classification"),
    ("IMAGE_CLASSIFICATION", "vision", "image-classification"),
    ("IMAGE", "vision", "image-feature-extraction"),
    ("BACKBONE", "vision", "image-feature-extraction"),
    ("SEQ_TO_SEQ_CAUSAL_LM", "encoder-decoder", "text2text-generation"),
    ("MASKED_LM", "encoder-only", "fill-mask"),
    ("CAUSAL_LM", "decoder-only", "text-generation"),
)

#: Where no head decides: from the main input of the model.
_BY_INPUT: Mapping[str, tuple[str, str]] = {
    "pixel_values": ("vision", "image-feature-extraction"),
    "pixel_values_videos": ("vision", "video-classification"),
    "hidden_states": ("vision", "image-feature-extraction"),
    "input_values": ("speech", "feature-extraction"),
    "input_features": ("speech", "feature-extraction"),
    "past_values": ("time-series", "time-series-forecasting"),
    "input_ids": ("decoder-only", "feature-extraction"),
}

#: A text model whose config has one of these belongs to a family of its own.
_BY_FIELD: tuple[tuple[str, str], ...] = (
    (r"mamba_\w+|ssm_\w+|state_size|linear_(?:attn|key|num)\w*|rwkv\w*", "state-space"),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts", "mixture-of-experts"),
)


@dataclass(frozen=True, slots=True)
class Guess:
    """The guessed family and task of an architecture, with the evidence."""

    family: str
    task: str
    because: str


def guess(library: InstalledLibrary, architecture: str) -> Guess:
    """Guess an architecture's family and task by its heads, its inputs and its config's fields."""
    heads = library.heads.get(architecture, frozenset())
    body = library.class_text(architecture, "modeling", library.architectures)
    inputs = _inputs(body)
    main_input = _main_input(body) or next(iter(inputs), "input_ids")
    family, task, because = _by_head(heads) or (
        *_BY_INPUT.get(main_input, ("decoder-only", "feature-extraction")),
        f"main input {main_input}",
    )
    others = [name for name in inputs if name in _BY_INPUT and name != "input_ids"]
    if "input_ids" in inputs and others and family not in ("multimodal", "speech"):
        return Guess("multimodal", task, f"{because}, inputs input_ids and {others[0]}")
    if family == "decoder-only":
        fields = library.class_text(architecture, "configuration", library.configs)
        for pattern, other in _BY_FIELD:
            if match := re.search(rf"^    ({pattern})\b", fields, re.MULTILINE):
                return Guess(other, task, f"{because}, config field {match.group(1)}")
    return Guess(family, task, because)


def _by_head(heads: Iterable[str]) -> tuple[str, str, str] | None:
    for head, family, task in _BY_HEAD:
        if head in heads:
            return family, task, f"head {head}"
    return None


def _main_input(body: str) -> str:
    """The `main_input_name` that a model's class declares, or an empty text."""
    match = re.search(r"""main_input_name = ["'](\w+)["']""", body)
    return match.group(1) if match else ""


def _inputs(body: str) -> list[str]:
    """The parameters of a model's forward, in their order."""
    match = re.search(r"def forward\(\s*self,(.*?)\)(?: ->.*?)?:\n", body, re.DOTALL)
    return re.findall(r"(?:^|,)\s*(\w+)\s*(?=[:,=]|$)", match.group(1)) if match else []
