"""`transformers.pipeline` on a small model: local tokenizers and processors, and raw input.

Each pipeline task has one function that makes its case from the model's example inputs; it returns
None where the architecture's own processor makes something else than the small model takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.contract import BASE, GENERATED_TOKENS, Array, Arrays, PipelineCase
from harness.toolkit.seeded_values import integers, uniform

_TEXT = {"input_ids", "attention_mask", "token_type_ids"}
#: Samples a second of the recordings.
SAMPLING_RATE = 16000


def pipeline_case(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """A pipeline's task, components and raw input; None where the model has none.

    Args:
        architecture: the model type, whose own processors are used.
        head: the task, or `base`: a headless model's pipeline returns its features.
        inputs: the model's example inputs; they say which modality it reads.
        seed: of the raw input.
    """
    from transformers.pipelines import SUPPORTED_TASKS

    if head == BASE:
        found = _features(architecture, inputs, seed)
    else:
        make = _TASKS.get(head)
        found = make(architecture, head, inputs, seed) if make is not None else None
    # An older transformers has no pipeline for the features of an image.
    return found if found is not None and found.task in SUPPORTED_TASKS else None


def _features(architecture: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    if _is_text(inputs):
        tokenizer = word_tokenizer(inputs)
        text = _words(inputs, seed)
        encoded = tokenizer(text, return_tensors="np")
        fed = {k: encoded[k] for k in encoded}
        return PipelineCase("feature-extraction", {"tokenizer": tokenizer}, text, fed)
    found = _image(architecture, "image-feature-extraction", inputs, seed)
    if found is None:
        return None
    encoded = found.components["image_processor"](found.raw, return_tensors="np")
    pixels = np.asarray(encoded["pixel_values"], dtype=np.float32)
    return PipelineCase(found.task, found.components, found.raw, {"pixel_values": pixels})


def _is_text(inputs: Arrays) -> bool:
    return inputs.keys() <= _TEXT and inputs.get("input_ids", np.empty(0)).ndim == 2


def _words(inputs: Arrays, seed: int) -> str:
    """As many words as the example has tokens, each of them one of its tokens.

    The last is the example's last: BART's classifier reads the </s> that its tokenizer puts there.
    """
    known = np.unique(inputs["input_ids"])
    length = inputs["input_ids"].shape[1]
    picks = known[integers(seed, "pipeline/text", (length,), 0, len(known))]
    picks[-1] = inputs["input_ids"][0, -1]
    return " ".join(map(_word, picks))


def _word(token: int) -> str:
    """`w17.` for 17: no word is a part of another one, where a special one would be found."""
    return f"w{token}."


def word_tokenizer(inputs: Arrays, names: tuple[str, ...] = ()) -> Any:
    """A fast tokenizer whose word `w17.` is the id 17.

    Args:
        inputs: the vocabulary reaches at least to the largest id in `input_ids`.
        names: the arguments that it makes; absent, those of the inputs that hold one number for
            each token. TAPAS's seven types of a token come from a table, which a plain text lacks.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = inputs.get("input_ids", np.array([3]))
    own = [name for name, array in inputs.items() if array.shape == ids.shape]
    size = max(128, int(ids.max()) + 1)
    words = Tokenizer(
        models.WordLevel({_word(i): i for i in range(size)}, unk_token=_word(ids.flat[0]))
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token=_word(ids.flat[0]),
        mask_token=_word(ids.flat[-1]),
        pad_token=_word(0),
        model_input_names=list(names or own),
    )


def _text(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    if not _is_text(inputs):
        return None
    return PipelineCase(head, {"tokenizer": word_tokenizer(inputs)}, _words(inputs, seed))


def _fill_mask(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """One word of the text is the mask token, and no other."""
    found = _text(architecture, head, inputs, seed)
    if found is None:
        return None
    mask = found.components["tokenizer"].mask_token
    first, _, rest = str(found.raw).replace(mask, _word(0)).partition(" ")
    return PipelineCase(head, found.components, f"{first} {mask} {rest}")


def _generation(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """A few greedy tokens; the answer is token ids, so that no tokenizer stands between."""
    found = _text(architecture, head, inputs, seed)
    if found is None:
        return None
    encoded = found.components["tokenizer"](found.raw, return_tensors="np")
    fed = {name: encoded[name] for name in encoded}
    settings = {"max_new_tokens": GENERATED_TOKENS, "do_sample": False}
    told = {"return_tensors": True}
    return PipelineCase(head, found.components, found.raw, fed, told, settings)


def _image(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    from PIL import Image

    pixels = inputs.get("pixel_values", np.empty(0))
    if not inputs.keys() <= {"pixel_values", "pixel_mask"} or pixels.ndim != 4:
        return None
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
    return PipelineCase(head, {"image_processor": processor}, image)


def _detection(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """Every box, however unsure the model is of it."""
    found = _image(architecture, head, inputs, seed)
    return replace(found, arguments={"threshold": 0.0}) if found is not None else None


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


def _sound(architecture: str, head: str, inputs: Arrays, seed: int) -> PipelineCase | None:
    """A recording as long as the example's, for the models that read the waveform itself."""
    from transformers import Wav2Vec2FeatureExtractor

    if not inputs.keys() <= {"input_values", "attention_mask"} or inputs["input_values"].ndim != 2:
        return None
    samples: Array = uniform(seed, "pipeline/sound", (inputs["input_values"].shape[1],))
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLING_RATE, return_attention_mask="attention_mask" in inputs
    )
    components = {
        "feature_extractor": extractor,
        "tokenizer": word_tokenizer({}, ("input_ids",)),
    }
    return PipelineCase(head, components, samples.astype(np.float32))


_Maker = Callable[[str, str, Arrays, int], "PipelineCase | None"]
_TASKS: Mapping[str, _Maker] = {
    "text-generation": _generation,
    "fill-mask": _fill_mask,
    "text-classification": _text,
    "token-classification": _text,
    "image-classification": _image,
    "image-segmentation": _image,
    "object-detection": _detection,
    "depth-estimation": _image,
    "audio-classification": _sound,
    "automatic-speech-recognition": _sound,
}
