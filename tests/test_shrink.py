"""Small configs: sizes shrink, structure stays. And the tables that say how."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness import catalog
from harness.contract import Absent
from harness.inputs import Recipe
from harness.tiny import shrink
from harness.tiny.model_class import config_class
from harness.tiny.shrink import Override, rule_of, scaled_sections, tiny_config

TINY = Path(shrink.__file__).parent


def tiny(architecture: str, **given: Any) -> Any:
    return tiny_config(config_class(architecture), given)


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((TINY / name).read_text(encoding="utf-8"))


@cache
def known() -> frozenset[str]:
    """Model types, config and model classes of the installed transformers, from its files' text."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    found = set(CONFIG_MAPPING)
    folder = Path(transformers.__file__).parent / "models"
    for path in (*folder.glob("*/configuration_*.py"), *folder.glob("*/modeling_*.py")):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'^    model_type\b.*= "(.+)"', text, re.MULTILINE))
        found |= set(re.findall(r"^class (\w+)\(", text, re.MULTILINE))
    return frozenset(found)


def is_removed(row: str) -> bool:
    """Whether an entry that wants an older transformers has this model type, or a part of it."""
    old = [e.architecture for e in catalog.load().entries.values() if e.requires]
    return any(f"{row}-".replace("-", "_").startswith(f"{name}-".replace("-", "_")) for name in old)


def sub_configs(config: Any) -> Iterator[Any]:
    """The config and all the configs in it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            yield from sub_configs(value)


# ---- the tables


@pytest.mark.parametrize("name", ["overrides.toml", "inputs.toml", "calls.toml"])
def test_every_row_has_a_reason_and_a_model(name: str) -> None:
    for row, values in table(name).items():
        assert row in known() or is_removed(row), f"{name}: transformers has no {row}"
        reason = values.get("reason", "").strip()
        assert len(reason) > 15, f"{name}: expected a reason for {row}, found {reason!r}"
        assert reason[-1] in ".:)", f"{name}: the reason for {row} is no sentence: {reason!r}"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("overrides.toml", {field.name for field in dataclasses.fields(Override)}),
        ("inputs.toml", {field.name for field in dataclasses.fields(Recipe)}),
        ("calls.toml", {"call", "reason"}),
    ],
)
def test_every_row_says_what_is_read(name: str, keys: set[str]) -> None:
    for row, values in table(name).items():
        assert values.keys() <= keys, f"{name}: nobody reads {values.keys() - keys} of {row}"
        assert len(values) > 1, f"{name}: {row} says nothing"


def test_rows_stand_once() -> None:
    """TOML refuses a table twice; a model type and its class may still name the same config."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    rows = table("overrides.toml").keys()
    twice = {(n, c) for n, c in CONFIG_MAPPING_NAMES.items() if n in rows and c in rows}
    assert not twice


def test_every_rule_of_sizes_does_something() -> None:
    for rule in shrink.rules():
        known_kind = rule.kind in shrink._SCALARS or rule.kind in {"token", "layers"}
        assert known_kind or rule.to is not None, rule
        assert rule.to is None or rule.to > 0, rule


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("hidden_size", "hidden"),
        ("d_model", "hidden"),
        ("num_hidden_layers", "layers"),
        ("encoder_layers", "layers"),
        ("num_attention_heads", "heads"),
        ("num_key_value_heads", "kv_heads"),
        ("vocab_size", "vocab"),
        ("image_token_id", "token"),
        ("eos_token_id", "token"),
        ("num_local_experts", "experts"),
        ("num_experts_per_tok", "topk"),
        ("intermediate_size", "ff"),
        ("max_position_embeddings", "positions"),
        ("image_size", "image"),
    ],
)
def test_what_a_field_counts_follows_from_its_name(field: str, kind: str) -> None:
    rule = rule_of(field)
    assert rule is not None
    assert rule.kind == kind


@pytest.mark.parametrize("field", ["hidden_act", "num_labels", "num_channels", "layer_norm_eps"])
def test_what_is_no_size_stays(field: str) -> None:
    rule = rule_of(field)
    assert rule is None or rule.kind == "keep"


# ---- configs


def test_sizes_shrink_and_structure_stays() -> None:
    config, plain = tiny("bert"), config_class("bert")()
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"):
        assert 1 < getattr(config, name) < getattr(plain, name)
    for name in ("hidden_act", "type_vocab_size", "layer_norm_eps", "pad_token_id"):
        assert getattr(config, name) == getattr(plain, name)
    assert config.hidden_size % config.num_attention_heads == 0


@pytest.mark.parametrize(
    ("key_value_heads", "small"),
    [(32, 4), (8, 2), (1, 1)],
    ids=["multi-head", "grouped", "multi-query"],
)
def test_the_kind_of_attention_stays(key_value_heads: int, small: int) -> None:
    config = tiny("llama", num_attention_heads=32, num_key_value_heads=key_value_heads)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, small)


def test_what_an_entry_declares_shrinks_as_the_defaults_do() -> None:
    declared = catalog.load().entries["gemma_2_27b"].config
    config = tiny("gemma2", **declared)
    assert config.num_attention_heads == 2 * config.num_key_value_heads
    assert config.hidden_size < declared["hidden_size"]
    assert config.head_dim < declared["head_dim"]
    assert config.num_hidden_layers < declared["num_hidden_layers"]
    # What scales the scores is no size, and the model's own.
    assert config.query_pre_attn_scalar == declared["query_pre_attn_scalar"]


LAYERED = ["gemma2", "qwen3_next", "jamba", "gpt_oss", "recurrent_gemma"]


@pytest.mark.parametrize("architecture", LAYERED)
def test_a_small_model_has_a_layer_of_each_kind(architecture: str) -> None:
    config, plain = tiny(architecture), config_class(architecture)()
    assert set(config.layer_types) == set(plain.layer_types)
    assert len(config.layer_types) == config.num_hidden_layers < plain.num_hidden_layers


def test_experts_are_fewer_and_still_chosen_from() -> None:
    config = tiny("mixtral")
    assert 1 < config.num_experts_per_tok < config.num_local_experts <= 4


def test_stages_stay_as_many() -> None:
    config, plain = tiny("swin"), config_class("swin")()
    assert len(config.depths) == len(plain.depths) == len(config.num_heads)
    assert max(config.depths) <= 2
    widths = [config.embed_dim * 2**i for i in range(len(config.depths))]
    assert all(w % heads == 0 for w, heads in zip(widths, config.num_heads, strict=True))
    # Derived from the small values, not shrunk a second time.
    assert config.hidden_size == widths[-1]


def test_channels_keep_their_proportions() -> None:
    config, plain = tiny("resnet"), config_class("resnet")()
    ratios = {
        large / small for large, small in zip(plain.hidden_sizes, config.hidden_sizes, strict=True)
    }
    assert len(ratios) == 1
    assert ratios.pop() > 1


@pytest.mark.parametrize("architecture", ["llava", "qwen2_vl", "idefics3", "qwen2_audio"])
def test_parts_of_a_composite_fit_each_other(architecture: str) -> None:
    config = tiny(architecture)
    text = config.get_text_config()
    assert text.vocab_size <= shrink.VOCABULARY
    assert sum(1 for _ in sub_configs(config)) > 1
    ids = {
        name: value
        for part in sub_configs(config)
        for name, value in vars(part).items()
        if re.fullmatch(r"(image|video|audio|vision_start|vision_end)_token_(id|index)", name)
        and value is not None
    }
    assert ids
    assert all(0 <= value < text.vocab_size for value in ids.values())
    assert len(set(ids.values())) == len(ids)


def test_rotary_sections_make_half_a_head() -> None:
    text = tiny("qwen2_vl").text_config
    width = text.hidden_size // text.num_attention_heads
    assert sum(text.rope_parameters["mrope_section"]) == width // 2


def test_a_config_is_made_anew_each_time() -> None:
    first, second = tiny("llava"), tiny("llava")
    assert first.to_dict() == second.to_dict()
    first.text_config.hidden_size = 1
    assert tiny("llava").text_config.hidden_size == second.text_config.hidden_size


def test_an_override_wins() -> None:
    config = tiny("esm")
    assert (config.vocab_size, config.mask_token_id) == (33, 32)


def test_what_transformers_does_not_have_is_absent() -> None:
    with pytest.raises(Absent, match="has no model type 'llama_from_mars'"):
        config_class("llama_from_mars")


# ---- sections


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(0, 8))
@example([1, 4, 1], 0)
def test_sections_sum_to_the_total_and_none_is_lost(sections: list[int], more: int) -> None:
    total = len(sections) + more
    small = scaled_sections(sections, total)
    assert sum(small) == total
    assert len(small) == len(sections)
    assert min(small) >= 1


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6))
def test_sections_of_the_same_total_stay(sections: list[int]) -> None:
    assert scaled_sections(sections, sum(sections)) == sections


def test_sections_keep_their_proportions() -> None:
    assert scaled_sections([16, 24, 24], 32) == [8, 12, 12]
    assert scaled_sections([16, 0, 16], 8) == [4, 0, 4]


def test_placeholders_that_the_default_leaves_out_get_ids_of_their_own() -> None:
    config = tiny("minicpmv4_6")
    ids = {config.image_token_id, config.video_token_id}
    assert config_class("minicpmv4_6")().image_token_id is None
    assert len(ids) == 2
    assert all(0 < i < config.text_config.vocab_size for i in ids)


def test_the_lists_of_a_vocoder_stay_as_long_as_each_other() -> None:
    config = tiny("univnet")
    lists = ("resblock_kernel_sizes", "resblock_stride_sizes", "resblock_dilation_sizes")
    assert {len(getattr(config, name)) for name in lists} == {2}
