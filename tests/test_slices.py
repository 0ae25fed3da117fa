"""Slices: every published size but the number of layers, each kind of which is kept twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.contract import HarnessError
from harness.models import slices
from harness.models.config_classes import config_class
from harness.models.shrink.rules import rule_of
from harness.models.shrink.slicer import sliced
from harness.models.slices import Slice


def wide(architecture: str, **given: Any) -> Slice:
    return sliced(config_class(architecture), given)


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("bert", {"num_hidden_layers": 2}),
        ("gpt2", {"n_layer": 2}),
        ("bart", {"encoder_layers": 2, "decoder_layers": 2}),
        (
            "gemma3_text",
            {
                "num_hidden_layers[sliding_attention]": 2,
                "num_hidden_layers[full_attention]": 2,
            },
        ),
        (
            "deepseek_v3",
            {"num_hidden_layers[first_k_dense_replace]": 2, "num_hidden_layers": 2},
        ),
        # The first layer alone has the table of relative positions.
        (
            "t5",
            {
                "num_layers[first]": 1,
                "num_layers": 2,
                "num_decoder_layers[first]": 1,
                "num_decoder_layers": 2,
            },
        ),
        ("swin", {"depths[0]": 2, "depths[1]": 2, "depths[2]": 4, "depths[3]": 2}),
        ("gpt_neo", {"num_layers[global]": 2, "num_layers[local]": 2}),
        ("recurrent_gemma", {"num_hidden_layers[recurrent]": 2, "num_hidden_layers[attention]": 2}),
        (
            "sam_vision_model",
            {"num_hidden_layers": 2, "num_hidden_layers[global_attn_indexes]": 2},
        ),
        # Every eighth layer attends, so that the second one is the thirteenth.
        (
            "jamba",
            {
                "num_hidden_layers": 5,
                "num_hidden_layers[expert_layer_period]": 6,
                "num_hidden_layers[attn_layer_period]": 2,
            },
        ),
        ("llava", {"vision_config.num_hidden_layers": 2, "text_config.num_hidden_layers": 2}),
    ],
)
def test_each_kind_of_layer_is_kept_twice(architecture: str, layers: dict[str, int]) -> None:
    assert wide(architecture).layers == layers


@pytest.mark.parametrize("architecture", ["gemma3_text", "sam_vision_model", "gpt_neo"])
def test_the_kept_layers_are_those_of_the_published_config(architecture: str) -> None:
    found = wide(architecture)
    again = sliced(type(found.config), _declared(found.config))
    assert again.layers == found.layers == again.whole


@pytest.mark.parametrize(
    "architecture", ["bert", "t5", "whisper", "swin", "mixtral", "mamba2", "llava", "clip", "detr"]
)
def test_every_other_size_stays(architecture: str) -> None:
    whole, found = dict(_sizes(config_class(architecture)())), wide(architecture).config
    sizes = {name: value for name, value in _sizes(found) if name in whole}
    assert sizes == {name: whole[name] for name in sizes}
    assert len(sizes) > 3


def test_an_entry_s_own_sizes_count() -> None:
    found = wide("llama", hidden_size=8192, num_hidden_layers=80, num_key_value_heads=8)
    assert (found.config.hidden_size, found.config.num_key_value_heads) == (8192, 8)
    assert (found.layers, found.whole) == ({"num_hidden_layers": 2}, {"num_hidden_layers": 80})


def test_a_part_keeps_what_its_composite_derived() -> None:
    """Mistral 3's text has heads of 128 in a hidden state of 5120, which its class would halve."""
    assert wide("mistral3").config.text_config.head_dim == 128


def test_a_placeholder_beyond_the_vocabulary_gets_an_id_within() -> None:
    whole, found = config_class("llava")(), wide("llava").config
    assert whole.image_token_index == whole.text_config.vocab_size == found.text_config.vocab_size
    assert 0 < found.image_token_index < found.text_config.vocab_size
    assert wide("bert").config.pad_token_id == config_class("bert")().pad_token_id


def test_layers_can_be_chosen() -> None:
    chosen = {"num_hidden_layers[sliding_attention]": 10}
    wanted = slices.chosen_layers(chosen)
    found = sliced(config_class("gemma3_text"), {}, "", wanted)
    assert found.layers == {**chosen, "num_hidden_layers[full_attention]": 2}
    assert found.config.num_hidden_layers == len(found.config.layer_types) == 12
    slices.check_labels(chosen, found)
    deepest = slices.chosen_layers({"num_hidden_layers": 99})
    assert sliced(config_class("bert"), {}, "", deepest).config.num_hidden_layers == 12


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"num_hidden_layer": 3}, "Did you mean `num_hidden_layers`"),
        ({"num_hidden_layers": 0}, "1 layer or more"),
    ],
)
def test_layers_that_there_are_not_are_refused(chosen: dict[str, int], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        slices.check_labels(chosen, wide("bert"))


def _declared(config: Any) -> dict[str, Any]:
    return {k: v for k, v in config.to_dict().items() if k not in {"model_type", "dtype"}}


def _sizes(config: Any, where: str = "") -> Iterator[tuple[str, int]]:
    """Sizes of a config and of its parts, but for numbers of layers."""
    for name, value in vars(config).items():
        rule = rule_of(name)
        if hasattr(value, "model_type"):
            yield from _sizes(value, f"{where}{name}.")
        elif isinstance(value, int) and rule is not None and rule.kind not in {"layers", "token"}:
            yield f"{where}{name}", value
