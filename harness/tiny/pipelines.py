"""`transformers.pipeline` on a small model: a local tokenizer or image processor, and raw input.

Models without a head have two pipelines: `feature-extraction` for text and
`image-feature-extraction` for images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contract import Array, Arrays, PipelineCase
from harness.weights import integers, uniform

_TEXT = {"input_ids", "attention_mask", "token_type_ids"}


def pipeline_case(architecture: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """A pipeline's task, components and raw input for a headless model; None where it has none.

    Args:
        architecture: the model type, whose own image processor is used.
        inputs: the model's example inputs; they say which modality it reads.
        seed: of the raw input.
    """
    from transformers.pipelines import SUPPORTED_TASKS

    found = None
    if inputs.keys() <= _TEXT and inputs.get("input_ids", np.empty(0)).ndim == 2:
        found = _text(inputs, seed)
    if inputs.keys() == {"pixel_values"} and inputs["pixel_values"].ndim == 4:
        found = _image(architecture, inputs["pixel_values"], seed)
    # An older transformers has no pipeline for the features of an image.
    return found if found is not None and found.task in SUPPORTED_TASKS else None


def _text(inputs: Arrays, seed: int) -> PipelineCase:
    tokenizer = word_tokenizer(inputs)
    known = np.unique(inputs["input_ids"])
    length = inputs["input_ids"].shape[1]
    picks = known[integers(seed, "pipeline/text", (length,), 0, len(known))]
    text = " ".join(f"w{i}" for i in picks)
    encoded = tokenizer(text, return_tensors="np")
    return PipelineCase(
        "feature-extraction", {"tokenizer": tokenizer}, text, {k: encoded[k] for k in encoded}
    )


def word_tokenizer(inputs: Arrays) -> Any:
    """A fast tokenizer whose word `w17` is the id 17, with the inputs' argument names."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    size = max(128, int(inputs["input_ids"].max()) + 1)
    unknown = f"w{int(inputs['input_ids'].flat[0])}"
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token=unknown))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token=unknown,
        pad_token="w0",
        model_input_names=list(inputs),
    )


def _image(architecture: str, pixels: Array, seed: int) -> PipelineCase | None:
    from PIL import Image

    processor = _image_processor(architecture, pixels.shape[-2], pixels.shape[-1])
    if processor is None or pixels.shape[1] != 3:
        return None
    values = (uniform(seed, "pipeline/image", (48, 64, 3)) + 1) * 127.5
    image = Image.fromarray(values.astype(np.uint8))
    try:
        encoded: Mapping[str, Any] = processor(image, return_tensors="np")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # it knows no plain height and width
    if np.asarray(encoded["pixel_values"]).shape[1:] != pixels.shape[1:]:
        return None  # its processor makes tiles or patches; the plain image is another model's
    arrays = {"pixel_values": np.asarray(encoded["pixel_values"], dtype=np.float32)}
    return PipelineCase("image-feature-extraction", {"image_processor": processor}, image, arrays)


def _image_processor(architecture: str, height: int, width: int) -> Any:
    """The architecture's own image processor, set to the small model's size; None without one."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    named = IMAGE_PROCESSOR_MAPPING_NAMES.get(architecture)
    if isinstance(named, str):
        named = (named,)
    choices = named.values() if isinstance(named, Mapping) else named or ()
    for name in [c for c in choices if c]:
        try:
            cls = getattr(transformers, name)
            size = {"height": height, "width": width}
            return cls(size=size, crop_size=size, do_center_crop=False, do_pad=False)
        except (ImportError, ValueError, TypeError, AttributeError):
            continue  # needs torchvision, or knows no height and width
    return None
