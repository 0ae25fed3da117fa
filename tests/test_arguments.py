"""`python -m harness arguments`: which arguments of forward no input has."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from harness.commands import arguments
from harness.models import processor_keys


def test_what_most_entries_lack_stands_first() -> None:
    lacking = {"a": ["x"], "b": [*"vwxyz"]}
    lines = arguments.table(lacking, {"b": 2})
    cells = [line.split() for line in lines]
    assert [row[0] for row in cells if row[0] in lacking] == ["b", "a"]
    row = next(row for row in cells if row[0] == "b")
    assert row[1:3] == ["5", "2"]
    assert "1 more" in " ".join(row)


class Declares:
    model_input_names = ("input_ids", "token_type_ids")


class FakeFeatureExtractor:
    model_input_names = ("input_features",)
    sampling_rate = 16

    def __call__(self, sound: Any, sampling_rate: int) -> dict[str, Any]:
        assert len(sound) == sampling_rate == self.sampling_rate
        return {"input_features": sound, "attention_mask": sound}


class FakeImageProcessor:
    model_input_names = ("pixel_values",)

    def __init__(self, file: str) -> None:
        raise AssertionError(file)


class Together:
    @property
    def model_input_names(self) -> list[str]:
        return ["mm_token_type_ids"]


def test_what_processors_declare_and_make_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = [Declares, FakeFeatureExtractor, FakeImageProcessor, Together]
    fake: Any = ModuleType("transformers")
    monkeypatch.setitem(sys.modules, "transformers", fake)
    tables: dict[str, list[str]] = {}
    for (module, table), cls in zip(processor_keys.TABLES, classes, strict=False):
        auto: Any = ModuleType(module)
        setattr(fake, cls.__name__, cls)
        setattr(auto, table, {"thing": {"pil": cls.__name__, "other": None}})
        monkeypatch.setitem(sys.modules, f"transformers.models.auto.{module}", auto)
        tables[table] = [cls.__name__]
    last, table = processor_keys.TABLES[-1]
    auto = ModuleType(last)
    setattr(auto, table, {"thing": "NotInstalled"})
    monkeypatch.setitem(sys.modules, f"transformers.models.auto.{last}", auto)
    assert processor_keys.sent("thing") == {
        "input_ids",
        "token_type_ids",
        "input_features",
        "attention_mask",
        "pixel_values",
        "mm_token_type_ids",
    }
    assert processor_keys.sent("another") == frozenset()
