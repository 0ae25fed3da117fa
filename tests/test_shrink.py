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

from harness.catalog import model_lists
from harness.contract import Absent
from harness.inputs import Recipe
from harness.models.config_classes import config_class
from harness.models.shrink import overrides
from harness.models.shrink.overrides import ConfigOverride
from harness.models.shrink.rope import scaled_sections
from harness.models.shrink.rules import rule_of, rules
from harness.models.shrink.scalars import SCALARS
from harness.models.shrink.shrinker import tiny_config
from harness.models.shrink.tokens import VOCABULARY

HARNESS = Path(overrides.__file__).parents[2]
OVERRIDES, RECIPES, CALLS = (
    "models/shrink/overrides.toml",
    "inputs/recipe.toml",
    "models/forward_methods.toml",
)


def tiny(architecture: str, **given: Any) -> Any:
    return tiny_config(config_class(architecture), given)


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((HARNESS / name).read_text(encoding="utf-8"))


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
    old = [e.architecture for e in model_lists.load().entries.values() if e.requires]
    return any(f"{row}-".replace("-", "_").startswith(f"{name}-".replace("-", "_")) for name in old)


def sub_configs(config: Any) -> Iterator[Any]:
    """The config and all the configs in it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            yield from sub_configs(value)


# ---- the tables


@pytest.mark.parametrize("name", [OVERRIDES, RECIPES, CALLS])
def test_every_row_has_a_reason_and_a_model(name: str) -> None:
    for row, values in table(name).items():
        assert row in known() or is_removed(row), f"{name}: transformers has no {row}"
        reason = values.get("reason", "").strip()
        assert len(reason) > 15, f"{name}: expected a reason for {row}, found {reason!r}"
        assert reason[-1] in ".:)", f"{name}: the reason for {row} is no sentence: {reason!r}"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (OVERRIDES, {field.name for field in dataclasses.fields(ConfigOverride)}),
        (RECIPES, {field.name for field in dataclasses.fields(Recipe)}),
        (CALLS, {"call", "reason"}),
    ],
)
def test_every_row_says_what_is_read(name: str, keys: set[str]) -> None:
    for row, values in table(name).items():
        assert values.keys() <= keys, f"{name}: nobody reads {values.keys() - keys} of {row}"
        assert len(values) > 1, f"{name}: {row} says nothing"


def test_rows_are_exceptions() -> None:
    """Rows stay few: a rule serves many models. `python -m benchmarks.generality` counts both."""
    for name in (OVERRIDES, RECIPES):
        assert len(table(name)) < 123, f"{name}: expected fewer than 123 rows. Fix: find the rule"


def test_rows_stand_once() -> None:
    """TOML refuses a table twice; a model type and its class may still name the same config."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    rows = table(OVERRIDES).keys()
    twice = {(n, c) for n, c in CONFIG_MAPPING_NAMES.items() if n in rows and c in rows}
    assert not twice


def test_every_rule_of_sizes_does_something() -> None:
    for rule in rules():
        known_kind = rule.kind in SCALARS or rule.kind in {"token", "layers"}
        assert known_kind or rule.to is not None or rule.factor is not None, rule
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
    declared = model_lists.load().entries["gemma_2_27b"].config
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
    assert text.vocab_size <= VOCABULARY
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


@pytest.mark.parametrize(
    ("architecture", "field", "given", "small"),
    [
        (
            "falcon",
            "num_kv_heads",
            {"hidden_size": 4096, "num_attention_heads": 64, "num_kv_heads": 8},
            2,
        ),
        ("falcon", "num_kv_heads", {}, 4),
        ("mistral", "head_dim", {"hidden_size": 5120, "head_dim": 128}, 8),
        ("mistral", "head_dim", {"hidden_size": 2048, "head_dim": 128}, 32),
        ("mistral", "head_dim", {"hidden_size": 4096, "head_dim": 128}, 16),
        ("swin", "window_size", {"window_size": 12}, 2),
        ("sam_vision_model", "window_size", {}, 3),
        ("vitdet", "window_size", {}, 0),
        ("mobilenet_v1", "depth_multiplier", {}, 0.25),
        ("informer", "prediction_length", {}, 12),
        ("nemotron", "num_key_value_heads", {}, 4),
        ("sam2_vision_model", "backbone_feature_sizes", {}, [[16, 16], [8, 8], [4, 4]]),
    ],
)
def test_sizes_keep_what_they_say_of_each_other(
    architecture: str, field: str, given: dict[str, Any], small: Any
) -> None:
    assert getattr(tiny(architecture, **given), field) == small


def test_what_an_entry_says_stands_where_an_override_says_otherwise() -> None:
    said = tiny("dbrx", attn_config={"rope_theta": 5e5, "clip_qkv": 4.0})
    assert (said.attn_config.rope_theta, said.attn_config.clip_qkv) == (5e5, 4.0)
    assert tiny("dbrx").attn_config.clip_qkv == 8.0
    assert tiny("esm", vocab_size=1000).vocab_size == 33  # a size: the row's own


# ---- configs as transformers 4 wrote them


class Old:
    """No dataclass: what a config takes stands in its constructor's signature."""

    model_type = ""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class OldPart(Old):
    """A part of a composite."""

    def __init__(self, hidden_size: int = 768) -> None:
        self.hidden_size = hidden_size


class OldComposite(Old):
    """Knows its parts of an instance only, and takes them as dictionaries only."""

    def __init__(self, vision_config: Any = None) -> None:
        if isinstance(vision_config, dict):
            self.vision_config = OldPart(**vision_config)
        elif vision_config is None:
            self.vision_config = OldPart()

    @property
    def sub_configs(self) -> dict[str, type]:
        return {"vision_config": OldPart}


class OldDetector(Old):
    """Takes timm's backbone unless it is told otherwise."""

    def __init__(
        self,
        use_timm_backbone: bool = True,
        backbone_config: Any = None,
        backbone: str | None = "resnet50",
    ) -> None:
        self.use_timm_backbone, self.backbone = use_timm_backbone, backbone
        own = None if use_timm_backbone else OldPart()
        self.backbone_config = backbone_config or own


def test_a_part_that_is_taken_as_a_dictionary_only_is_small_all_the_same() -> None:
    config = tiny_config(OldComposite)
    assert config.vision_config.hidden_size == 64


def test_a_backbone_of_the_library_itself_is_chosen() -> None:
    config = tiny_config(OldDetector)
    assert (config.use_timm_backbone, config.backbone) == (False, None)
    assert config.backbone_config.hidden_size == 64


def test_few_layers_that_are_named_stay() -> None:
    """Zamba2's shared blocks take turns: it takes three hybrid layers to see two of them do so."""
    kinds = ["linear_attention", "hybrid", "hybrid", "linear_attention", "hybrid"]
    given = {"num_hidden_layers": 5, "layers_block_type": kinds, "hybrid_layer_ids": [1, 2, 4]}
    config = tiny_config(config_class("zamba2"), given)
    assert config.layers_block_type == kinds
    assert config.hybrid_layer_ids == [1, 2, 4]
    assert len(tiny_config(config_class("zamba2")).layers_block_type) == 2
