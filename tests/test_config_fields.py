"""Config fields: one that a config class lacks is refused, and every entry's own are taken."""

from __future__ import annotations

from typing import Any

import pytest

from harness.catalog import model_lists
from harness.catalog.requirements import unmet_requirements
from harness.contract import Absent, Entry, HarnessError
from harness.models import config_fields
from harness.models.config_classes import config_class
from harness.models.libraries import library

ENTRIES = [
    entry
    for entry in model_lists.load().entries.values()
    if entry.library == "transformers" and entry.config and unmet_requirements(entry) is None
]


@pytest.mark.parametrize(
    ("architecture", "given", "words"),
    [
        ("llama", {"num_hidden_layerz": 3}, ["LlamaConfig", "Did you mean `num_hidden_layers`?"]),
        ("llama", {"hidden_sise": 12}, ["`hidden_sise`", "`hidden_size`"]),
        ("t5", {"rotary_dim": 4}, ["T5Config", "`rotary_dim`"]),
        ("bert", {"rope_theta": 1e6}, ["BertConfig", "`rope_theta`"]),
        (
            "clip",
            {"text_config": {"image_size": 64}},
            ["CLIPTextConfig", "`text_config.image_size`"],
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "rope_thetaa": 5e5}},
            ["`rope_parameters.rope_thetaa`", "Did you mean `rope_theta`?"],
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"full_atention": {"rope_type": "default", "rope_theta": 5e5}}},
            ["`rope_parameters.full_atention`", "Did you mean `full_attention`?"],
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"full_attention": {"rope_tpye": "default", "rope_theta": 5e5}}},
            ["`rope_parameters.full_attention.rope_tpye`", "Did you mean `rope_type`?"],
        ),
        ("clip", {"txt_config": {}}, ["CLIPConfig", "`text_config`"]),
        (
            "llava",
            {"text_config": {"model_type": "gpt2", "n_layers": 2}},
            ["GPT2Config", "`text_config.n_layers`", "`n_layer`"],
        ),
    ],
)
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_a_field_that_does_not_exist_is_refused(
    architecture: str, given: dict[str, Any], words: list[str], size: str
) -> None:
    with pytest.raises(HarnessError) as error:
        library("transformers").config(architecture, given, size)
    for word in [*words, "Fix: "]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "given"),
    [
        ("llama", {"rope_theta": 1e6, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("gpt2", {"hidden_size": 64, "n_layer": 2}),  # by its usual name, and by its own
        ("t5", {"tie_word_embeddings": False}),  # its constructor takes it, and declares it nowhere
        ("bert", {"num_labels": 3}),
        ("clip", {"text_config": {"hidden_size": 64}, "vision_config": {"image_size": 64}}),
    ],
)
def test_a_field_that_a_class_takes_without_declaring_it_is_taken(
    architecture: str, given: dict[str, Any]
) -> None:
    config_fields.check(config_class(architecture), given)


@pytest.mark.parametrize(
    ("package", "architecture", "given", "meant"),
    [
        ("diffusers", "UNet2DModel", {"layers_per_blok": 1}, "layers_per_block"),
        ("timm", "ResNet", {"layerz": [1, 1, 1, 1]}, "layers"),
        ("torch_geometric", "GCN", {"hidden_channelz": 3}, "hidden_channels"),
    ],
)
def test_an_argument_that_no_constructor_has_is_refused(
    package: str, architecture: str, given: dict[str, Any], meant: str
) -> None:
    pytest.importorskip(package)
    found = library(package)
    with pytest.raises(HarnessError) as error:
        found.module(architecture, found.config(architecture, given, "tiny"))
    assert f"found `{next(iter(given))}`. Did you mean `{meant}`" in str(error.value)


def test_an_architecture_is_told_the_nearest() -> None:
    with pytest.raises(Absent) as error:
        config_class("lama")
    assert "has no model type 'lama'. Did you mean `llama`" in str(error.value)
    with pytest.raises(Absent) as error:
        config_class("qqq")
    assert str(error.value).endswith("has no model type 'qqq'")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_sets_fields_that_exist(entry: Entry) -> None:
    try:
        cls = config_class(entry.architecture)
    except Absent:
        pytest.skip(f"{entry.architecture} is in another environment's transformers")
    config_fields.check(cls, entry.config)
