"""Which export is taken, what a static one refuses, and what is said of it; on made-up exporters.

Skipped where the environment has no transformers; `.ci/run` runs it in that of `qnn`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from backends._shared import hf_export
from backends._shared.export_failed import ExportFailed
from backends._shared.hf_generation import HfGenerator
from harness.catalog import model_lists
from harness.contract import (
    Arrays,
    Case,
    CheckFailed,
    GenerationRequest,
    Placement,
    Unsupported,
)
from harness.models.case import TinyCase
from harness.toolkit import greedy_generation

PLAIN = np.ones((2, 3), np.float32)


class Positions(torch.nn.Module):
    """A model that computes positions in Python, as `get_rope_index` of Qwen2-VL does."""

    def get_rope_index(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.arange(input_ids.shape[1]), None


class Exporter:
    """An exporter whose exports of some kinds of shapes fail."""

    config_class = SimpleNamespace

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.asked: list[str] = []

    def export(self, model: Any, inputs: Any, config: Any) -> Any:
        kind = "dynamic" if config.dynamic else "static"
        self.asked.append(kind)
        print(f"[torch.onnx] {kind}")
        if kind in self.failing:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise RuntimeError("outer") from error
        assert inputs["use_cache"] is False
        return lambda **given: given


def case(module: torch.nn.Module | None = None, name: str = "x") -> Case:
    array = PLAIN if name == "x" else PLAIN.astype(np.int64)
    made = SimpleNamespace(
        module=lambda: module or torch.nn.Identity(),
        inputs=lambda: {name: array},
        options=lambda: {"use_cache": False},
        outputs=lambda raw: {n: t.numpy() for n, t in raw.items()},
    )
    return cast(Case, made)


def placed() -> Placement:
    return Placement(1.0, "everything ran", counts={"nodes": 3})


def outputs(exporter: Exporter, inputs: Arrays) -> Arrays:
    return hf_export.HfProgram(hf_export.export(exporter, case()), case(), placed)(inputs)


def test_dynamic_shapes_come_first_and_take_others(capsys: pytest.CaptureFixture[str]) -> None:
    exporter = Exporter()
    other = np.ones((1, 5), np.float32)
    assert outputs(exporter, {"x": other})["x"].shape == (1, 5)
    assert exporter.asked == ["dynamic"]
    assert not capsys.readouterr().out


def test_static_shapes_follow_a_failure_and_refuse_others() -> None:
    exporter = Exporter("dynamic")
    assert outputs(exporter, {"x": PLAIN})["x"].shape == (2, 3)
    assert exporter.asked == ["dynamic", "static"]
    with pytest.raises(Unsupported, match=r"x as \(2, 3\), found \(1, 5\); dynamic: KeyError"):
        outputs(exporter, {"x": np.ones((1, 5), np.float32)})
    with pytest.raises(Unsupported, match="expected y as None"):
        outputs(exporter, {"x": PLAIN, "y": PLAIN})


def test_a_missing_input_is_not_taken_from_the_call_before() -> None:
    with pytest.raises(ValueError, match="expected the inputs x, found none called x"):
        outputs(Exporter(), {})


def test_two_failures_say_the_cause_of_each() -> None:
    with pytest.raises(ExportFailed, match=r"dynamic: KeyError: 'inner'; static: KeyError"):
        hf_export.export(Exporter("dynamic", "static"), case())


def test_a_runtime_of_static_shapes_is_asked_for_no_others() -> None:
    exporter = Exporter()
    made = hf_export.export(exporter, case(), dynamic=False)
    assert exporter.asked == ["static"]
    assert made.refusal == "asked for"


def test_the_evidence_says_which_shapes() -> None:
    dynamic = hf_export.export(Exporter(), case()).placed(placed())
    assert (dynamic.evidence, dynamic.counts) == (
        "everything ran; dynamic shapes",
        {"nodes": 3, "static_shapes": 0},
    )
    static = hf_export.export(Exporter("dynamic"), case()).placed(placed())
    assert static.evidence == "everything ran; static shapes (dynamic: KeyError: 'inner')"
    assert static.counts["static_shapes"] == 1


def test_each_call_gets_what_the_model_computes_in_python() -> None:
    asked = case(Positions(), "input_ids")
    program = hf_export.HfProgram(hf_export.export(Exporter(), asked), asked, placed)
    found = program({"input_ids": np.ones((1, 4), np.int64)})
    assert found["position_ids"].tolist() == [0, 1, 2, 3]


class Generating(Exporter):
    """An exporter whose components for generation are the model itself, called by eager PyTorch."""

    def __init__(self, *failing: str, components: tuple[str, ...] = ("prefill", "decode")) -> None:
        super().__init__(*failing)
        self.components = components
        self.called: list[tuple[str, list[str]]] = []

    def export_for_generation(self, model: Any, inputs: Any, config: Any) -> Any:
        if "dynamic" in self.failing:
            raise RuntimeError("no such operator")
        assert inputs["attention_mask"].sum() == inputs["input_ids"].numel() - 1
        runners = {name: self.runner(name, model) for name in self.components}
        return SimpleNamespace(components=dict.fromkeys(self.components), runners=runners)

    def runner(self, name: str, model: Any) -> Any:
        def run(**given: Any) -> Any:
            self.called.append((name, sorted(given)))
            return model(**given, use_cache=True)

        kwargs = ("attention_mask", "input_ids", "past_key_values", "position_ids")
        run.metadata = SimpleNamespace(kwargs=kwargs)  # type: ignore[attr-defined]
        return run


def generator(exporter: Any, shares: dict[str, float] | None = None) -> HfGenerator:
    gpt2 = TinyCase(model_lists.load().entries["gpt2"], head="text-generation")
    return HfGenerator(exporter, gpt2, lambda made: None, lambda made: shares or {})


def test_generation_calls_one_program_for_the_prompt_and_one_for_each_further_token() -> None:
    exporter = Generating()
    made = generator(exporter)
    inputs = dict(made.case.inputs())
    mask = np.ones_like(inputs["input_ids"])
    mask[0, :2] = 0
    for given in (inputs, {**inputs, "attention_mask": mask}):
        exporter.called.clear()
        found = made(GenerationRequest(given, 3))
        model = made.case.module().eval()
        greedy_generation.make_greedy(model, made.how)
        wanted = GenerationRequest(given, 3)
        right = greedy_generation.generate(model, made.how, wanted, hf_export.tensors)
        assert np.array_equal(found.sequences, right.sequences)
        assert found.logits is not None
        assert right.logits is not None
        assert np.allclose(found.logits, right.logits, atol=1e-4)
        assert [name for name, _ in exporter.called] == ["prefill", "decode", "decode"]
        assert all("attention_mask" in names for _, names in exporter.called)


@pytest.mark.parametrize(
    ("exporter", "shares", "settings", "error", "words"),
    [
        (Generating(), {}, {"num_beams": 2}, Unsupported, "one, behind a cache"),
        (Generating(components=("lm_head", "decode")), {}, {}, Unsupported, "lm_head, decode"),
        (Generating("dynamic"), {}, {}, ExportFailed, "no such operator"),
        (Generating(), {"prefill": 1.0, "decode": 0.5}, {}, CheckFailed, "50% of decode"),
    ],
)
def test_generation_that_an_export_does_not_give(
    exporter: Any, shares: Any, settings: Any, error: type[Exception], words: str
) -> None:
    made = generator(exporter, shares)
    with pytest.raises(error, match=words):
        made(GenerationRequest(made.case.inputs(), 3, settings))
