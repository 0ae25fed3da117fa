"""Named checkpoints: what makes one differ from its architecture is still there in the small build.

Sizes shrink to the same numbers for a checkpoint and for its architecture. Its structure must not:
switches, activations, rotary scaling, kinds of layers, shares of key-value heads, windows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from harness.catalog import model_lists
from harness.contract import Entry
from harness.models.case import TinyCase
from harness.models.libraries import library
from harness.models.shrink.rules import rule_of
from harness.toolkit.close_matches import normalise
from harness.toolkit.signature import LENGTHS

ENTRIES = model_lists.load().entries

VARIANTS = [
    entry.name
    for entry in ENTRIES.values()
    if entry.library == "transformers"
    and not entry.branch_of
    and normalise(entry.name) != normalise(entry.architecture)
]

#: Checkpoints that are as their architecture's default, or a larger or smaller one of it.
SIZES_ONLY = {
    "all_minilm_l6_v2", "bert_base_uncased", "bert_copy", "bert_minimal",
    "bert_specialized_legal", "bloomz",
    "convnext_medical", "deepseek", "deepseek_vision", "dino", "gemma_7b_it", "gpt2_minimal",
    "herbert", "incoder", "mbert_large", "mgpt_13b", "mixtral_8x22b", "mosaic_mpt", "nllb",
    "nllb_3b", "phi_1", "phi_1_5", "pythia", "seamless_m4t_v2_large", "swin_large_financial",
    "t5_minimal", "t5_small", "tapex", "vit_medicalimaging", "vit_minimal",
}  # fmt: skip

#: Entry -> the structure that its checkpoint is known for.
KNOWN_FOR: dict[str, dict[str, Any]] = {
    "code_llama": {"rope_theta": 1e6},
    "codellama_7b_python": {"rope_theta": 1e6},
    "command_r": {"rope_theta": 8e6},
    "dbrx_instruct": {"key-value heads": "grouped", "ffn_config.experts a token": "several"},
    "deepseek_coder": {"rope_type": "linear", "factor": 4.0},
    "deepseek_distil": {"key-value heads": "grouped"},
    "deepseek_r1": {"rope_type": "yarn", "factor": 40.0},
    "deepseek_r1_distil": {"key-value heads": "grouped"},
    "distilroberta_base": {"type_vocab_size": 1},
    "donut": {"encoder.model_type": "donut-swin", "decoder.model_type": "mbart"},
    "falcon_180b": {"key-value heads": "grouped", "new_decoder_architecture": True},
    "flan": {"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": False},
    "flan_t5": {"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": False},
    "gemma_2_27b": {"attention": "narrower than the hidden state", "query_pre_attn_scalar": 144},
    "llama_2_7b_chat": {"rms_norm_eps": 1e-5},
    "llama_3": {"key-value heads": "grouped", "rope_theta": 5e5},
    "llama_3_8b_instruct": {"key-value heads": "grouped", "rope_theta": 5e5},
    "llamaguard_7b": {"rms_norm_eps": 1e-5},
    "mistral_nemo": {"attention": "narrower than the hidden state", "sliding_window": None},
    "nougat": {"encoder.model_type": "donut-swin", "decoder.model_type": "mbart"},
    "phi4": {"key-value heads": "grouped", "rope_theta": 2.5e5},
    "phi_2": {"partial_rotary_factor": 0.4},
    "phi_3_medium_medical": {"key-value heads": "grouped", "sliding_window": "some"},
    "tinyllama": {"key-value heads": "grouped"},
    "wav2vec2_large_xlsr_medical": {"do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    "whisper_large_v3": {"num_mel_bins": 128},
    "xlm_roberta_large_finetuned": {"type_vocab_size": 1},
}


def structure(config: Any, prefix: str = "") -> dict[str, Any]:
    """Structure of a config and its parts, sizes left out: by field, or by a word for several."""
    found: dict[str, Any] = {prefix + "model_type": config.model_type}
    for name, value in vars(config).items():
        if name.startswith("_") or name == "transformers_version":
            continue
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            found |= structure(value, f"{prefix}{name}.")
        elif name in ("rope_parameters", "rope_scaling") and isinstance(value, dict):
            found |= {prefix + key: value[key] for key in value}
        elif name == "sliding_window":
            found[prefix + name] = "some" if value else value
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            found[prefix + name] = sorted(set(value))
        elif isinstance(value, str | bool | float | None) or (
            isinstance(value, int) and not is_size(name)
        ):
            found[prefix + name] = value
    return found | {prefix + name: value for name, value in shares(config).items()}


def is_size(name: str) -> bool:
    """Whether a whole number is a size, by its rule, or by its name where it has been derived."""
    rule = rule_of(name)
    return name.endswith(("_size", "_dim")) if rule is None else rule.kind != "keep"


def shares(config: Any) -> dict[str, str]:
    """Relations between the sizes of a config, such as grouped key-value heads."""
    found = {}
    heads = first(config, "num_attention_heads", "n_heads")
    groups = first(config, "num_key_value_heads", "num_kv_heads")
    width, hidden = first(config, "head_dim"), first(config, "hidden_size", "d_model")
    if heads and groups:
        kinds = {1: "one", heads: "as many as heads"}
        found["key-value heads"] = kinds.get(groups, "grouped")
    if heads and width and hidden:
        wider = heads * width - hidden
        word = "as wide as" if not wider else "wider than" if wider > 0 else "narrower than"
        found["attention"] = f"{word} the hidden state"
    chosen = first(config, "num_experts_per_tok", "moe_top_k")
    if chosen:
        found["experts a token"] = "one" if chosen == 1 else "several"
    return found


def first(config: Any, *names: str) -> int | None:
    """The first of these fields that is a number."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


@cache
def structures(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry's structure at the published size, and small."""
    entry = ENTRIES[name]
    return made(entry, "full"), made(entry, "tiny")


def made(entry: Entry, size: str) -> dict[str, Any]:
    return structure(library(entry.library).config(entry.architecture, entry.config, size))


@cache
def default(architecture: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The structure of an architecture's default, at its size and small."""
    entry = Entry(architecture, "", architecture)
    return made(entry, "full"), made(entry, "tiny")


def differences(variant: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variant.items() if base.get(key, "absent") != value}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_makes_a_checkpoint_differ_is_there_when_it_is_small(name: str) -> None:
    full, tiny = structures(name)
    differs = differences(full, default(ENTRIES[name].architecture)[0])
    assert {key: tiny.get(key, "absent") for key in differs} == differs
    assert bool(differs) == (name not in SIZES_ONLY)


@pytest.mark.parametrize("name", KNOWN_FOR)
def test_a_checkpoint_has_what_it_is_known_for(name: str) -> None:
    full, tiny = structures(name)
    base = default(ENTRIES[name].architecture)[1]
    for key, value in KNOWN_FOR[name].items():
        assert full[key] == value, f"{name} declares another {key}"
        assert tiny[key] == value, f"{name} has lost its {key}"
        assert base.get(key, "absent") != value or key == "attention", f"so does every {key}"


def test_every_checkpoint_is_known_for_something_or_for_its_size() -> None:
    assert SIZES_ONLY | KNOWN_FOR.keys() == set(VARIANTS)
    assert not SIZES_ONLY & KNOWN_FOR.keys()


def test_deberta_keeps_its_relative_attention() -> None:
    """Published checkpoints have it, and the defaults of both config classes lack it."""
    for name in ("deberta", "deberta_v2"):
        _, tiny = structures(name)
        plain = default(ENTRIES[name].architecture)[1]
        assert (tiny["relative_attention"], plain["relative_attention"]) == (True, False)
        assert set(tiny["pos_att_type"]) == {"c2p", "p2c"}
    assert tiny["share_att_key"] is True
    assert tiny["norm_rel_ebd"] == "layer_norm"
    # Fewer than the tokens of an example, so that distant ones share a bucket.
    assert 0 < TinyCase(ENTRIES["deberta_v2"]).config().position_buckets // 2 < LENGTHS[0]
