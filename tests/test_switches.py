"""Switches of modeling files: which tests of config fields there are, and which answers occur."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.catalog import model_lists
from harness.contract import Entry
from harness.models import switches
from harness.models.switches import Switch
from harness.report import code_coverage as pages

SOURCE = """\
class Model:
    def __init__(self, config):
        self.gated = config.gated
        self.turns = config.num_blocks
        self.scale = config.hidden_size**-0.5
        self.shared = 2 * config.num_kv_shared_layers
        if config.window is not None and not config.act in ("relu", "gelu"):
            self.window = 1
        self.norm = 1 if getattr(config, "qk_norm", False) else 0
        self.blocks = [i % self.turns for i in range(config.num_layers)]

    def forward(self, x, output_attentions=False):
        if self.gated and output_attentions or self.config.output_attentions:
            x = x + 1
        return x

    def _init_weights(self, module):
        if self.config.never_in_inference:
            module.weight = 0
"""


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Switch]:
    path = tmp_path / "modeling_thing.py"
    path.write_text(SOURCE, encoding="utf-8")
    return {switch.field: switch for switch in switches.switches(path)}


def test_each_test_of_a_field_is_found(found: dict[str, Switch]) -> None:
    tests = {name: switch.test for name, switch in found.items() if switch.tested}
    assert tests == {
        "gated": "value",
        "window": "value is not None",
        "act": "value in ('relu', 'gelu')",
        "qk_norm": "value",
    }
    assert {name: switch.test for name, switch in found.items() if not switch.tested} == {
        "num_kv_shared_layers": "value",
        "num_blocks": "value > 1",
        "num_layers": "value > 1",
    }


@pytest.mark.parametrize(
    ("field", "values", "answers"),
    [
        ("gated", [False], {False}),
        ("gated", [False, True], {False, True}),
        ("window", [None, 8], {False, True}),
        ("act", ["relu"], {True}),
        ("num_kv_shared_layers", [0], {False}),
        ("num_kv_shared_layers", [2], set()),  # a size
        ("num_kv_shared_layers", [0, 2], {False, True}),
        ("num_blocks", [1], {False}),
        ("num_blocks", [2], set()),  # no cell misses a branch where it is always more than one
        ("num_blocks", [1, 2], {False, True}),
    ],
)
def test_which_answers_occur(
    found: dict[str, Switch], field: str, values: list[object], answers: set[bool]
) -> None:
    configs = [SimpleNamespace(**{field: value}) for value in values]
    assert switches.answers(found[field], switches.values_of(configs)) == answers
    assert switches.answers(found[field], {}) == set()


def test_a_branch_turns_a_switch_of_its_architecture() -> None:
    entries = model_lists.load().entries
    missing = {}
    for chosen in (["gemma4_text"], ["gemma4_text", "gemma4_text_shared"]):
        rows = switches.survey([entries[name] for name in chosen], lambda stage: None)
        missing[len(chosen)] = {row["field"] for row in rows if len(row["answers"]) < 2}
    assert "num_kv_shared_layers" in missing[1] - missing[2]


def test_what_no_entry_turns_is_listed() -> None:
    rows = switches.survey([Entry("bert", "encoder-only", "bert")], lambda stage: None)
    text = pages.switches(rows)
    assert "| `bert/modeling_bert.py` | `is_decoder` | `(value)` |" in text
