"""Branches: entries that switch more of their architecture's config than its default does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.catalog import model_lists
from harness.contract import BASE, Entry, HarnessError
from harness.models.libraries import library
from harness.models.shrink.rules import rule_of
from harness.models.shrink.shrinker import tiny_config

ENTRIES = model_lists.load().entries
BRANCHES = [entry for entry in ENTRIES.values() if entry.branch_of]

LIST = """\
[bert]
architecture = "bert"
task = "fill-mask"
checkpoint = "x/bert"
aliases = ["plain"]
priority = "high"
config = { hidden_act = "relu", part = { a = 1, b = 2 } }
"""


def load(tmp_path: Path, rows: str) -> dict[str, Entry]:
    (tmp_path / "model_lists").mkdir()
    (tmp_path / "model_lists" / "encoder_only.toml").write_text(LIST)
    (tmp_path / "model_lists" / "branches.toml").write_text(rows)
    return dict(model_lists.load(tmp_path).entries)


def test_a_branch_is_an_entry_with_more_switched(tmp_path: Path) -> None:
    rows = '[bert_x]\nof = "bert"\nconfig = { act = "null", part = { b = 3 } }\n'
    found = load(tmp_path, rows)["bert_x"]
    assert found.config == {"hidden_act": "relu", "part": {"a": 1, "b": 3}, "act": None}
    assert (found.architecture, found.family, found.priority) == ("bert", "encoder-only", "low")
    assert (found.checkpoint, found.aliases, found.branch_of) == ("", (), "bert")
    assert found.built == ("fill-mask",)  # the headless model is inside


def test_a_branch_says_its_heads_and_family(tmp_path: Path) -> None:
    rows = '[bert_x]\nof = "bert"\nfamily = "decoder-only"\nheads = []\nconfig = {}\n'
    found = load(tmp_path, rows)
    assert (found["bert_x"].family, found["bert_x"].built) == ("decoder-only", (BASE,))
    assert found["bert"].built == (BASE, "fill-mask")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('[bert_x]\nof = "brt"\nconfig = {}\n', "Did you mean `bert`"),
        ('[x]\nof = "bert"\nconfig = {}\n', "begins with bert_"),
        ('[bert_x]\nof = "bert"\nheads = ["fil-mask"]\nconfig = {}\n', "Did you mean `fill-mask`"),
        ('[bert_x]\nof = "bert"\n', "config"),
        ('[bert_x]\nof = "bert"\nconfig = {}\n[bert_y]\nof = "bert_x"\nconfig = {}\n', "of"),
    ],
)
def test_a_wrong_row_is_refused_with_a_fix(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(HarnessError, match=r"branches\.toml") as refused:
        load(tmp_path, rows)
    assert said in str(refused.value)
    assert "Fix: " in str(refused.value)


def lost(given: dict[str, Any], config: Any, path: str = "") -> list[str]:
    """The fields of a branch, sizes left out, that its small config has another value for."""
    found = []
    own = getattr(type(config), "attribute_map", {})
    for name, value in given.items():
        made = getattr(config, own.get(name, name), None)
        if isinstance(value, dict) and hasattr(made, "model_type"):
            found += lost({k: v for k, v in value.items() if k != "model_type"}, made, f"{name}.")
            continue
        plain = isinstance(value, bool | str | None)
        switch = isinstance(value, int | float) and rule_of(name) is None
        if made != value if plain else switch and bool(made) != bool(value):
            found.append(f"{path}{name}: {made!r}")
    return found


def test_what_a_branch_switches_is_still_switched_in_the_small_build() -> None:
    wrong = {}
    for entry in BRANCHES:
        head = entry.built[0]
        config = library(entry.library).config(entry.architecture, entry.config, "tiny", head)
        own = {k: v for k, v in entry.config.items() if ENTRIES[entry.branch_of].config.get(k) != v}
        if found := lost(own, config):
            wrong[entry.name] = found
    assert not wrong


def test_layers_that_share_keys_and_values_are_kept() -> None:
    from transformers import Gemma3nTextConfig, Gemma4TextConfig

    small = tiny_config(Gemma4TextConfig, {"num_hidden_layers": 36, "num_kv_shared_layers": 20})
    assert small.num_kv_shared_layers == 2
    assert small.layer_types == ["sliding_attention", "full_attention"] * 2
    assert small.kv_sharing_modes == ["store", "store", "reuse", "reuse"]
    small = tiny_config(Gemma3nTextConfig)  # its default shares
    assert small.kv_sharing_modes[-2:] == ["reuse", "reuse"]
    assert small.activation_sparsity_pattern[0] > 0
    assert tiny_config(Gemma4TextConfig).num_kv_shared_layers == 0
