"""Ways of using a cache: each is judged, a refusal is counted, and every failure is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from function_backend import Runner
from language_backend import LanguageBackend, LanguageCase, forgetful, logits_after, refused

from harness.checks import cache_ways
from harness.contract import (
    PROCESSED,
    Array,
    Arrays,
    CellResult,
    Generated,
    Generation,
    GenerationRequest,
    Outcome,
    Stage,
    Unsupported,
)

#: The ways of a default run, as the fake backend tells them apart.
WAYS = (
    "static cache",
    "beams",
    "one row",
    "left-padded",
    "continuation",
    "continuation by forward",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


def judged(result: CellResult) -> Mapping[str, float]:
    """1 for each way that was judged, 0 for each that was refused."""
    return {m.name: m.value for m in result.metrics if m.name.startswith("way_")}


def test_each_way_of_a_default_run_is_judged(run: Runner) -> None:
    result = run(LanguageBackend())
    assert result.outcome is Outcome.PASS, result.reason
    default = [way for way in cache_ways.cache_ways() if not way.deep]
    assert judged(result) == {way.metric: 1 for way in default}


def test_each_way_of_a_deep_run_is_judged(run: Runner) -> None:
    result = run(LanguageBackend(), checks="deep")
    assert result.outcome is Outcome.PASS, result.reason
    assert judged(result) == {way.metric: 1 for way in cache_ways.cache_ways()}


def test_at_full_size_plain_generation_is_enough(run: Runner) -> None:
    result = run(LanguageBackend(), size="full")
    assert result.outcome is Outcome.PASS, result.reason
    assert judged(result) == {}
    assert any(metric.name == "generated_tokens" for metric in result.metrics)
    everything = run(LanguageBackend(), size="full", checks="deep")
    assert judged(everything) == {way.metric: 1 for way in cache_ways.cache_ways()}


@pytest.mark.parametrize("way", WAYS)
def test_a_cache_that_forgets_in_one_way_fails_by_its_name(run: Runner, way: str) -> None:
    result = run(LanguageBackend({way: forgetful}))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert result.reason.startswith(f"generate, {way}: logits: relative error")
    assert result.reason.count("generate, ") == 1


def test_every_way_that_fails_is_kept(run: Runner) -> None:
    result = run(LanguageBackend({"beams": forgetful, "static cache": KeyError("keys")}))
    first, second = result.failures
    assert first.reason == "generate, static cache: KeyError: 'keys'"
    assert second.reason.startswith("generate, beams: logits: relative error")
    assert judged(result)["way_static_cache"] == judged(result)["way_one_row"] == 1


@pytest.mark.parametrize(
    "words",
    [
        refused(),
        NotImplementedError(),
        ValueError("thing does not support `cache_implementation=static`"),
        ImportError("You need to install optimum-quanto"),
    ],
)
def test_a_way_that_is_refused_in_plain_words_is_counted(run: Runner, words: Exception) -> None:
    result = run(LanguageBackend({"static cache": words}))
    assert result.outcome is Outcome.PASS
    assert judged(result)["way_static_cache"] == 0
    assert judged(result)["way_beams"] == 1


@pytest.mark.parametrize(
    "error", [IndexError("does not support"), ValueError("expected 3"), AttributeError("keys")]
)
def test_any_other_error_is_a_failure(run: Runner, error: Exception) -> None:
    result = run(LanguageBackend({"static cache": error}))
    assert result.reason == f"generate, static cache: {type(error).__name__}: {error}"
    assert str(error) in result.error


def test_beams_without_logits_say_nothing(run: Runner) -> None:
    result = run(LanguageBackend(tells=False))
    assert result.outcome is Outcome.PASS
    assert (judged(result)["way_beams"], judged(result)["way_one_row"]) == (0, 1)


def test_a_padded_row_is_held_against_the_row_without_padding(run: Runner) -> None:
    def reads_padding(ids: Array, mask: Array) -> Array:
        return logits_after(ids, np.ones_like(mask))

    result = run(LanguageBackend({"left-padded": reads_padding}))
    assert result.reason.startswith("generate, left-padded: logits: relative error")


@pytest.mark.parametrize("image", [True, False])
def test_a_prompt_with_an_image_is_what_a_processor_sends(run: Runner, image: bool) -> None:
    class Processed(LanguageCase):
        def inputs(self, variant: str = "base") -> Arrays:
            made = super().inputs("base" if variant == PROCESSED else variant)
            if image:
                made["pixel_values"] = np.ones((len(made["input_ids"]), 3))
            if variant == PROCESSED:
                made["token_type_ids"] = np.zeros_like(made["input_ids"])
            return made

    class Asked(LanguageBackend):
        any_arguments = True

        def generated(self, request: GenerationRequest) -> Generated:
            asked.append("token_type_ids" in request.inputs)
            return super().generated(request)

    asked: list[bool] = []
    backend = Asked()
    backend.made = Processed()
    result = run(backend)
    assert result.outcome is Outcome.PASS, result.error
    assert asked
    assert set(asked) == {image}


def test_inputs_that_are_no_rows_have_no_first_row() -> None:
    way = next(way for way in cache_ways.cache_ways() if way.name == "one row")
    case: Any = LanguageCase()
    how = Generation("input_ids")
    given = {**case.inputs(), "pixel_values": np.zeros((7, 3))}
    with pytest.raises(Unsupported, match="not one for each row"):
        cache_ways.fed_in(way, case, given, how)
    fed = cache_ways.fed_in(way, case, {**case.inputs(), "sample": np.array(0)}, how)
    assert fed.pop("sample").shape == ()  # a number is the same for all rows
    assert {len(array) for array in fed.values()} == {1}


def test_names_of_ways_make_metrics() -> None:
    metrics = [way.metric for way in cache_ways.cache_ways()]
    assert len(set(metrics)) == len(metrics)
    assert all(name.replace("_", "").replace("-", "").isalnum() for name in metrics)
