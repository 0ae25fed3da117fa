"""Small models of real architectures: built, held to their own reference, and found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.torch_cpu.backend import Backend
from harness.catalog import backend_spec, backends, model_lists
from harness.cell import reference, stages
from harness.cell.request import Job
from harness.checks import sanity
from harness.contract import Absent, Arrays, Case, Cell, CellResult, Entry, Outcome, Stage
from harness.models import calibrate
from harness.models.case import TinyCase
from harness.models.eager_reference import _spread_out, tensors
from harness.models.pipelines import word_tokenizer
from harness.toolkit import numerics
from harness.toolkit.dtype_cast import METHODS, cast

#: One of each kind: a family, an architecture that is special in some way, or a declared config.
ENTRIES = (
    "bert", "t5", "gemma_2_27b", "mixtral", "qwen3_next", "resnet", "llava", "wav2vec2", "patchtst",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on more, and a cell's process has one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def entry(name: str) -> Entry:
    return model_lists.load().entries[name]


@cache
def case(name: str) -> TinyCase:
    """Shared by the tests, which leave it as it is."""
    return TinyCase(entry(name))


def run(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tamper: Callable[[Any], None] = lambda module: None,
    signature: str | None = None,
) -> CellResult:
    """A cell on torch-cpu in this process, after something was done to the backend's model."""

    class Tampered(Backend):
        def prepare(self, case: Case, precision: Any) -> Any:
            program = super().prepare(case, precision)
            tamper(program.module)
            return program

    monkeypatch.setattr(backends, "load", lambda spec, options: Tampered(options))
    job = Job(Cell(entry(name), "torch-cpu"), 0, "tiny", backend_spec.BACKENDS, {}, signature)
    return stages.run(job, lambda *_: None)


# ---- whole cells


@pytest.mark.parametrize("name", ENTRIES)
def test_a_real_architecture_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(name, monkeypatch)
    assert (result.outcome, result.stage) == (Outcome.PASS, Stage.MEASURE), result.error
    assert result.parameters is not None
    assert 1_000 < result.parameters < 1_000_000
    assert result.score is not None
    assert result.score < numerics.LIMIT


def noise_on_one_weight(module: Any) -> None:
    import torch

    matrices = [p for p in module.parameters() if p.ndim >= 2]
    weight = matrices[len(matrices) // 2]
    with torch.no_grad():
        torch.manual_seed(0)
        weight += 0.01 * weight.std() * torch.randn_like(weight)


@pytest.mark.parametrize("name", ["bert", "mixtral", "resnet", "llava"])
def test_one_wrong_weight_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(name, monkeypatch, noise_on_one_weight)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY), result.reason
    assert result.score is not None
    assert result.score > 20 * numerics.LIMIT


def test_a_lower_precision_than_promised_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def rounded(module: Any) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter.to(torch.bfloat16).to(parameter.dtype))

    assert run("bert", monkeypatch, rounded).outcome is Outcome.FAIL


def test_a_parameter_left_on_another_device_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def offload(module: Any) -> None:
        module.register_buffer("left_behind", torch.empty(2, device="meta"))

    result = run("bert", monkeypatch, offload)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith("placement: ")


def test_a_real_model_has_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    made = case("bert")
    want = made.reference(made.inputs())
    line = str(reference.describe(made, made.inputs(), want, "float64"))
    assert "last_hidden_state:f32[b,s,64]" in line
    assert run("bert", monkeypatch, signature=line).outcome is Outcome.PASS
    result = run("bert", monkeypatch, signature=line.replace(",64]", ",65]"))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert "`python -m harness record bert`" in result.reason


# ---- the case


def test_a_case_keeps_the_contract() -> None:
    assert isinstance(case("bert"), Case)


def same(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_a_model_follows_from_entry_and_seed_alone(name: str) -> None:
    import torch

    torch.manual_seed(12345)
    made, again, other = (TinyCase(entry(name), seed) for seed in (0, 0, 1))
    torch.rand(3)
    weights, same_weights, other_weights = (c.module().state_dict() for c in (made, again, other))
    assert all(torch.equal(weights[key], same_weights[key]) for key in weights)
    assert not all(torch.equal(weights[key], other_weights[key]) for key in weights)
    assert same(made.inputs(), again.inputs())
    assert not same(made.inputs(), other.inputs())


def test_a_module_is_a_fresh_one() -> None:
    import torch

    made = case("bert")
    before = made.reference(made.inputs())
    with torch.no_grad():
        for parameter in made.module().parameters():
            parameter.zero_()
    assert same(made.reference(made.inputs()), before)
    assert not made.module().training


def test_a_perturbed_weight_is_put_back() -> None:
    made = case("bert")
    x = made.inputs()
    before = made.reference(x)
    weight = made.weights()[0]
    small, large = (
        numerics.difference(made.perturbed(x, weight, scale), before).error
        for scale in (1e-4, 1e-2)
    )
    assert large == pytest.approx(100 * small, rel=0.1)
    assert small > 0
    assert same(made.reference(x), before)
    assert same(made.perturbed(x, weight, 0.0), before)


def test_a_jitter_is_about_one_rounding() -> None:
    made = case("bert")
    x = made.inputs()
    moved = numerics.difference(made.jittered(x, "float32"), made.reference(x)).error
    assert 1e-8 < moved < 1e-5
    assert same(made.jittered(x, "float32"), made.jittered(x, "float32"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_reference_is_computed_in_the_dtype(dtype: str) -> None:
    made = case("bert")
    exact = made.reference(made.inputs())
    assert {array.dtype.name for array in exact.values()} == {"float64"}
    found = numerics.difference(made.reference(made.inputs(), dtype), exact)
    low, high = {"float32": (1e-8, 1e-5), "bfloat16": (1e-4, 0.1)}[dtype]
    assert low < found.error < high


def test_matrices_are_perturbed_embeddings_last() -> None:
    names = list(case("bert").weights())
    module = case("bert").module()
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert len(names) == len(set(names))
    assert all(len(shapes[name]) >= 2 for name in names)
    assert "embed" not in names[0]


def test_a_saved_model_is_loaded_by_its_library(tmp_path: Path) -> None:
    import torch

    made = case("bert")
    made.save(tmp_path)
    again = type(made.module()).from_pretrained(tmp_path)
    want = made.module().state_dict()
    assert all(torch.equal(value, want[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(("name", "task"), [("bert", "feature-extraction"), ("llava", None)])
def test_a_pipeline_where_the_library_has_one(name: str, task: str | None) -> None:
    asked = case(name).pipeline()
    assert (asked.task if asked else None) == task
    if asked:
        assert asked.inputs is not None
        assert asked.inputs["input_ids"].shape == (1, len(asked.raw.split()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "llama_from_mars"}, "has no model type 'llama_from_mars'"),
        ({"requires": ("a-package-that-nobody-has",)}, "requires a-package-that-nobody-has"),
        ({"library": "nowhere"}, "no builder for library 'nowhere'"),
    ],
    ids=["architecture", "requirement", "library"],
)
def test_what_this_environment_lacks_is_absent(changes: dict[str, Any], reason: str) -> None:
    made = TinyCase(Entry(**{"name": "x", "family": "vision", "architecture": "bert", **changes}))
    with pytest.raises(Absent, match=reason):
        made.config()


def test_a_model_that_writes_into_its_inputs_changes_no_other_run() -> None:
    import torch

    given: Arrays = {"ids": np.arange(4), "pixels": np.ones(4, np.float32)}
    for tensor in tensors(given, torch.float32).values():
        tensor.zero_()
    assert given["ids"].tolist() == [0, 1, 2, 3]
    assert given["pixels"].tolist() == [1, 1, 1, 1]


def test_floating_inputs_have_the_dtype_and_integers_keep_theirs() -> None:
    import torch

    made = tensors({"ids": np.arange(4), "x": np.ones(4, np.float32)}, torch.float16)
    assert {name: tensor.dtype for name, tensor in made.items()} == {
        "ids": torch.int64,
        "x": torch.float16,
    }


@pytest.mark.parametrize("count", range(9))
def test_the_first_of_many_lie_far_apart(count: int) -> None:
    found = _spread_out(count)
    assert sorted(found) == list(range(count))
    if count == 7:
        assert found == [3, 1, 5, 0, 2, 4, 6]


# ---- calibration


def test_norms_of_a_small_cnn_have_the_statistics_of_its_activations() -> None:
    made = case("resnet")
    norms = [m for m in made.module().modules() if "BatchNorm" in type(m).__name__]
    assert norms
    assert any(float(norm.running_mean.abs().max()) > 0.01 for norm in norms)
    outputs = made.reference(made.inputs())
    sanity.sane(outputs)
    assert 0.1 < numerics.spread(outputs["last_hidden_state"]) < 10


def test_calibration_sets_mean_and_variance() -> None:
    import torch

    norm = torch.nn.BatchNorm2d(3).eval()
    model = torch.nn.Sequential(norm)
    assert calibrate.needs_calibration(model)
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scales, shifts = torch.tensor([[1.0, 5.0, 0.001], [0.0, 3.0, 0.2]])[:, :, None, None]
    x = x * scales + shifts
    assert calibrate.calibrate(model, {"input": x}) == 1
    found = norm(x)
    mean, deviation = found.mean((0, 2, 3)), found.std((0, 2, 3))
    assert (mean.abs() < 0.15).all()
    assert ((deviation[:2] > 0.7) & (deviation[:2] < 1.5)).all()
    # A channel that hardly varies is not blown up.
    assert deviation[2] < 0.01
    # Few bits, so that a machine that sums in another order gets the same.
    steps = torch.log2(norm.running_var) / 2
    torch.testing.assert_close(steps, steps.round())


def test_a_model_without_batch_norms_is_left_alone() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    assert not calibrate.needs_calibration(model)
    assert calibrate.calibrate(model, {"input": torch.ones(2, 4)}) == 0


def test_real_weights_come_from_the_checkpoints_folder(tmp_path: Path) -> None:
    entry = replace(model_lists.load().entries["bert"], checkpoint="someone/a-bert")
    saved = TinyCase(entry, seed=7)
    saved.save(tmp_path / "someone" / "a-bert")
    found = TinyCase(entry, seed=0, checkpoints=tmp_path)
    assert found.config().hidden_size == saved.config().hidden_size
    want = saved.module().state_dict()
    assert all((value == want[name]).all() for name, value in found.module().state_dict().items())
    head = TinyCase(entry, seed=0, head="fill-mask", checkpoints=tmp_path)
    with pytest.raises(Absent, match="requires the weights of cls of BertForMaskedLM"):
        head.module()
    TinyCase(entry, seed=7, head="fill-mask").save(tmp_path / "someone" / "a-bert")
    head = TinyCase(entry, seed=0, head="fill-mask", checkpoints=tmp_path)
    assert head.model_name == "BertForMaskedLM"


@pytest.mark.parametrize("checkpoint", ["", "someone/else"])
def test_an_entry_without_its_checkpoint_is_absent(tmp_path: Path, checkpoint: str) -> None:
    entry = replace(model_lists.load().entries["bert"], checkpoint=checkpoint)
    with pytest.raises(Absent, match=f"^requires .*{checkpoint}.*, not in {tmp_path}"):
        TinyCase(entry, checkpoints=tmp_path).module()


def test_a_plain_text_has_no_columns_of_a_table() -> None:
    ids = np.arange(6).reshape(2, 3)
    types = {"segment of each token": ids, "seven types of each token": np.stack([ids] * 7, -1)}
    for about, array in types.items():
        made = word_tokenizer({"input_ids": ids, "token_type_ids": array})("w1. w2.")
        assert ("token_type_ids" in made) == (about == "segment of each token"), about


def test_a_word_of_the_tokenizer_is_one_token() -> None:
    """Special words stand in no other word: the mask `w1.` is no part of `w11.`."""
    ids = np.array([[3, 11, 111, 1]])
    tokenizer = word_tokenizer({"input_ids": ids})
    text = " ".join(f"w{i}." for i in ids[0])
    assert tokenizer(text)["input_ids"] == ids[0].tolist()
    assert tokenizer.mask_token_id == 1


@pytest.mark.parametrize("dtype", METHODS)
def test_a_cast_keeps_imaginary_parts(dtype: str) -> None:
    import torch

    module = torch.nn.Linear(2, 2)
    module.register_buffer("angles", torch.polar(torch.ones(3), torch.arange(3.0)))
    module.register_buffer("counts", torch.arange(3))
    cast(module, getattr(torch, dtype))
    assert module.weight.dtype == getattr(torch, dtype)
    assert module.angles.imag.abs().sum() > 1
    assert module.counts.dtype == torch.int64
