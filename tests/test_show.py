"""`python -m harness show`: fields that differ from the published config, and their rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness.__main__ import main
from harness.models import libraries, model_class
from harness.models.shrink.changes import FOLLOWS, LACKING, changes


def rows(architecture: str, size: str, **given: Any) -> dict[str, tuple[Any, Any, str]]:
    """Published value, built value and rule of the changed fields, by path."""
    library = libraries.library("transformers")
    published, built = (library.config(architecture, given, kind) for kind in ("full", size))
    model = model_class.of(architecture, "base").__name__
    found = changes(published, built, size, model)
    return {row.path: (row.published, row.built, row.rule) for row in found}


def test_each_field_of_a_small_config_has_its_rule() -> None:
    assert rows("bert", "tiny") == {
        "vocab_size": (30522, 128, "vocab: at most 128"),
        "hidden_size": (768, 64, "hidden: at most 64"),
        "num_hidden_layers": (12, 2, "layers: one of each kind, 2 of 12"),
        "num_attention_heads": (12, 4, "heads: at most 4"),
        "intermediate_size": (3072, 128, "ff: at most 128"),
        "max_position_embeddings": (512, 128, "positions: at most 128"),
    }


def test_what_the_entry_says_is_published() -> None:
    assert rows("bert", "tiny", hidden_size=32, num_hidden_layers=1).keys() == {
        *("vocab_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    }


def test_parts_have_paths_and_lists_their_rule() -> None:
    assert rows("swin", "tiny")["depths"][2] == "list: each item as small as its stage allows"
    assert rows("swin", "tiny")["hidden_size"] == (768, 128, FOLLOWS)
    found = rows("llava", "tiny")
    assert found["text_config.hidden_size"] == (4096, 64, "hidden: at most 64")
    assert found["image_token_index"][2] == "token: ids within the small vocabulary"


def test_an_exception_has_the_reason_of_its_table() -> None:
    found = [row for row in rows("mamba2", "tiny").values() if row[2].startswith("overrides.toml")]
    assert found
    assert all(len(rule) > len("overrides.toml: ") for *_, rule in found)


def test_a_wide_config_differs_in_layers_only() -> None:
    assert rows("bert", "wide") == {
        "num_hidden_layers": (12, 2, "layers: two of each kind, 2 of 12")
    }
    assert rows("bert", "full") == {}


def test_a_field_that_no_rule_explains_says_so() -> None:
    library = libraries.library("transformers")
    published, built = (library.config("bert", {}, size) for size in ("full", "tiny"))
    built.hidden_size = 63
    built.of_nobody = 1
    found = {row.path: row for row in changes(published, built, "tiny", "BertModel")}
    assert found["hidden_size"].rule == FOLLOWS
    assert (found["of_nobody"].published, found["of_nobody"].rule) == (LACKING, FOLLOWS)


def test_a_model_of_a_list_of_ones_own(tmp_path: Path, capsys: Any) -> None:
    own = tmp_path / "ours.toml"
    keys = [
        'family = "encoder-only"',
        'architecture = "bert"',
        "config = { num_hidden_layers = 3 }",
    ]
    text = "\n".join(["[ours]", *keys])
    own.write_text(text, "utf-8")
    assert main(["show", "ours", "--lists", str(own)]) == 0
    shown = capsys.readouterr().out
    assert "ours (BertModel), size tiny\n" in shown
    assert "    num_hidden_layers = 3\n" in shown
    assert ["num_hidden_layers", "3", "2"] in [line.split()[:3] for line in shown.splitlines()]
    assert "    input_ids       int64  2x16\n" in shown
    assert "    last_hidden_state  float32  2x16x64\n" in shown
    assert main(["show", "ours", "--lists", str(own), "--size", "wide", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outputs"]["last_hidden_state"] == {"dtype": "float32", "shape": [2, 16, 768]}
    assert found["parameters"] < found["published_parameters"]


def test_a_misspelt_field_is_refused(tmp_path: Path, capsys: Any) -> None:
    own = tmp_path / "ours.toml"
    text = (
        '[ours]\nfamily = "decoder-only"\narchitecture = "llama"\nconfig = { hidden_sise = 12 }\n'
    )
    own.write_text(text, "utf-8")
    assert main(["show", "ours", "--lists", str(own)]) == 2
    assert "found `hidden_sise`. Did you mean `hidden_size`" in capsys.readouterr().err
