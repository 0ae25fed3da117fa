"""Answers of pipelines: one that generates on and on, and one that fails for another reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.contract import GENERATED_TOKENS, CheckFailed, Generation

pipeline_outputs: Any = pytest.importorskip("backends._shared.pipeline_outputs")

MANY, FEW = [()] * (GENERATED_TOKENS + 1), [()] * GENERATED_TOKENS


def no_place() -> None:
    raise IndexError("index out of range in self")


def test_an_answer_is_handed_on() -> None:
    case = SimpleNamespace(generation=Generation("input_ids"))
    assert pipeline_outputs.answered(lambda: "w3. w4.", MANY, case) == "w3. w4."


def test_a_pipeline_that_leaves_the_models_places_ignores_its_generation_config() -> None:
    case = SimpleNamespace(generation=Generation("input_ids"))
    said = "max_new_tokens = 8, as the model's generation_config says, found IndexError after 9"
    with pytest.raises(CheckFailed, match=said) as failed:
        pipeline_outputs.answered(no_place, MANY, case)
    assert "IndexError" not in failed.value.fingerprint


@pytest.mark.parametrize(("fed", "generates"), [(FEW, True), (MANY, False)])
def test_another_error_is_the_pipelines_own(fed: list[object], generates: bool) -> None:
    case = SimpleNamespace(generation=Generation("input_ids") if generates else None)
    with pytest.raises(IndexError):
        pipeline_outputs.answered(no_place, fed, case)
