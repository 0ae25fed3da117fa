"""`python -m harness generating`: the classes with a generate() that no cell lets generate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness import __main__ as command_line
from harness.catalog import model_lists
from harness.commands import generating
from harness.models import own_generation


def test_each_class_that_no_cell_lets_generate_has_a_reason(capsys: Any) -> None:
    pytest.importorskip("transformers")
    assert command_line.main(["generating"]) == 0, capsys.readouterr().out
    told = capsys.readouterr().out
    assert " classes have a generate(): cells judge each token of " in told


def test_a_class_without_a_reason_and_a_reason_without_a_class_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    classes = pytest.importorskip("harness.models.generating_classes")
    entry = model_lists.load().entries["gpt2"]
    found = {name: SimpleNamespace(__module__="transformers.models.a.modeling_a") for name in "AB"}
    monkeypatch.setattr(classes, "of_library", lambda: (found, ["modeling_c: no torchaudio"]))
    monkeypatch.setattr(classes, "of_cells", lambda entries: {"B": "tokens"})
    monkeypatch.setattr(classes, "exempt", lambda entries: {})
    monkeypatch.setattr(generating, "reasons", lambda: {"C": "Gone since."})
    assert entry.heads
    assert command_line.main(["generating"]) == 1
    told = capsys.readouterr().out
    assert "A      modeling_a" in told
    assert "names classes that need no reason: C" in told
    assert "2 classes have a generate(): cells judge each token of 1, and the answer of 0" in told
    assert "not read: modeling_c" in told


def test_cells_let_a_class_generate_by_its_row_or_by_itself() -> None:
    classes = pytest.importorskip("harness.models.generating_classes")
    entries = model_lists.load().entries
    found = classes.of_cells(
        [entries[name] for name in ("gpt2", "rag", "encoder_decoder", "xlnet")]
    )
    assert found["GPT2LMHeadModel"] == found["EncoderDecoderModel"] == "tokens"
    assert found["RagSequenceForGeneration"] == "own"
    assert "XLNetLMHeadModel" not in found


def test_a_class_generates_by_inheritance_or_with_its_own_method() -> None:
    class Plain:
        pass

    class Able:
        generate = "inherited"

        @classmethod
        def can_generate(cls) -> bool:
            return True

    class Own:
        __module__ = "transformers.models.own.modeling_own"

        def generate(self) -> None: ...

    assert [own_generation.generates(cls) for cls in (Plain, Able, Own)] == [False, True, True]
