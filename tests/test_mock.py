"""The mock: what it replays, that it behaves as each family must, and its faults."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from workplace import BACKENDS, Workplace

from backends.mock import backend as mock
from backends.mock.models import MockModel, MockPipeline, MockProcessor, MockTokenizer, example
from harness.cell import reference, stages
from harness.cell.request import Job
from harness.checks import padded_outputs
from harness.contract import (
    FAMILIES,
    Absent,
    Case,
    Cell,
    CellResult,
    Entry,
    HarnessError,
    Outcome,
    Placement,
    Precision,
    Stage,
    Unavailable,
    Unsupported,
)
from harness.toolkit import padded_inputs, signature
from harness.toolkit.signature import Signature

DEFAULT = Precision("default", "float32")

#: One model or more of each family, as torch-cpu would record them.
LINES = {
    "encoder-only": ["input_ids:i64[b,s] attention_mask:i64[b,s] -> y:f32[b,s,64] z:f32[b,64]"],
    "decoder-only": ["input_ids:i64[b,s] attention_mask:i64[b,s] -> last_hidden_state:f32[b,s,64]"],
    "encoder-decoder": [
        "input_ids:i64[b,s] decoder_input_ids:i64[b,s/2] -> y:f32[b,s/2,64] encoder_y:f32[b,s,64]",
        "input_ids:i64[b,s] decoder_input_ids:i64[4b,s/2] -> y:f32[b,s/2,64]",
    ],
    "vision": [
        "pixel_values:f32[b,3,64,64] -> last_hidden_state:f32[b,96,2,2] pooler_output:f32[b,96]",
        "hidden_states:f32[16b,1176] grid_thw:i64[b,3] -> y:f32[16b,64]",
    ],
    "vision-encoder-text-decoder": [
        "pixel_values:f32[b,3,32,32] decoder_input_ids:i64[b,s/2] -> y:f32[b,s/2,64]",
        "pixel_values:f32[b,3,32,32] input_ids:i64[b,s] -> y:f32[b,s,64]",
    ],
    "speech": ["input_values:f32[b,1600] -> y:f32[b,4,64] codes:i64[b,2,4] mask:bool[b,4]"],
    "multimodal": [
        "input_ids:i64[b,s+16] pixel_values:f32[b,3,56,56] -> y:f32[b,s+16,64] states:f32[16b,64]",
        "input_ids:i64[b,s] input_features:f32[b,80,64] -> y:f32[b,s,64] xs:f32[b,b] scale:f32[]",
    ],
    "diffusion": [
        "sample:f32[b,4,8,8] timestep:i64[b] encoder_hidden_states:f32[b,5,8] -> out:f32[b,4,8,8]",
    ],
    "mixture-of-experts": ["input_ids:i64[b,s] -> last_hidden_state:f32[b,s,64]"],
    "state-space": ["input_ids:i64[b,s] -> last_hidden_state:f32[b,s,64]"],
    "rag": [
        "input_ids:i64[b,s] -> y:f32[b,64]",
        "context_input_ids:i64[2b,s] doc_scores:f32[b,2] -> y:f32[2b,s,9]",
    ],
    "time-series": ["past_values:f32[b,32,1] -> y:f32[b,1,32,64] loc:f32[b,1,1]"],
    "structured": ["states:f32[2,8,17] actions:f32[2,8,4] timesteps:i64[2,8] -> y:f32[2,8,17]"],
}  # fmt: skip
MODELS = {
    f"{family}-{i}": (family, line)
    for family, lines in LINES.items()
    for i, line in enumerate(lines)
}


def line(text: str) -> Signature:
    return signature.parse(f"thing ThingModel 1234 {text}")


def case(family: str, text: str, seed: int = 0) -> mock.MockCase:
    return mock.MockCase(Entry("thing", family, "thing"), line(text), seed)


def run(monkeypatch: pytest.MonkeyPatch, family: str, text: str, fault: str = "") -> CellResult:
    """A cell on the mock, with a snapshot of this one line, in this process."""
    monkeypatch.setattr(mock, "recorded", lambda: {"thing": str(line(text))})
    entry = Entry("thing", family, "thing")
    options = {"fault": f"{fault}=thing"} if fault else {}
    job = Job(Cell(entry, "mock"), 0, "tiny", BACKENDS, options)
    return stages.run(job, lambda *_: None)


# ---- mock models


def test_all_families_have_a_model_here() -> None:
    assert tuple(sorted(LINES)) == tuple(sorted(FAMILIES))


@pytest.mark.parametrize("name", MODELS)
def test_a_mock_passes_every_check_of_its_family(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    result = run(monkeypatch, *MODELS[name])
    assert (result.outcome, result.stage) == (Outcome.PASS, Stage.MEASURE), result.error
    assert result.parameters == 1234
    stages = {metric.name.removeprefix("cpu_") for metric in result.metrics}
    assert {Stage.PIPELINE, Stage.ROUNDTRIP} <= stages


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_batch_are_independent(name: str) -> None:
    made = case(*MODELS[name])
    base, other = made.inputs("base"), made.inputs("other")
    mixed = {
        n: np.concatenate([base[n][: len(base[n]) // 2], other[n][len(base[n]) // 2 :]])
        for n in base
    }
    before, after = made.reference(base), made.reference(mixed)
    for output, spec in made.line.outputs.items():
        if spec.dims and (spec.dims[0].endswith("b") or spec.dims[0] == "2"):
            half = len(before[output]) // 2
            np.testing.assert_array_equal(before[output][:half], after[output][:half])
            if spec.dtype == "float32":
                assert not np.array_equal(before[output][half:], after[output][half:])


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_as_recorded(name: str) -> None:
    made = case(*MODELS[name])
    for variant, reshaped in (("base", False), ("other", False), ("reshaped", True)):
        found = made.reference(made.inputs(variant), "float32")
        assert list(found) == list(made.line.outputs)
        for output, spec in made.line.outputs.items():
            assert found[output].shape == spec.shape(reshaped)
            assert found[output].dtype == spec.dtype
            assert np.isfinite(found[output]).all()


@pytest.mark.parametrize("name", MODELS)
def test_inputs_are_as_recorded(name: str) -> None:
    made = case(*MODELS[name])
    base, other = made.inputs(), made.inputs("other")
    for argument, spec in made.line.inputs.items():
        assert base[argument].shape == spec.shape()
        assert base[argument].dtype == spec.dtype
        assert "mask" in argument or not np.array_equal(base[argument], other[argument])
    assert reference.describe(made, base, made.reference(base), "float64") == made.line


@pytest.mark.parametrize("family", ["encoder-only", "decoder-only", "encoder-decoder"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_masked_token_counts_for_nothing_wherever_it_stands(
    family: str, side: padded_inputs.Side
) -> None:
    made = case(
        family,
        "input_ids:i64[b,s+4] attention_mask:i64[b,s+4] decoder_input_ids:i64[b,s/2] -> "
        "y:f32[b,s+4,8] z:f32[b,s/2,8] pooled:f32[b,8] states:f32[b*(s+4),8]",
    )
    base = made.inputs()
    short = padded_inputs.shortened(base)
    padded = padded_inputs.padded(base, short, side, made.padding())
    want, brief = made.reference(base), made.reference(short)
    found = made.reference(padded)
    lengths = base["attention_mask"].shape[1], short["attention_mask"].shape[1]
    mask = padded_outputs.real(found, want, brief, 2, side, lengths)
    assert padded_outputs.violation(found, want, brief, mask, 2) is None
    padded["attention_mask"][:] = 1
    wrong = padded_outputs.violation(made.reference(padded), want, brief, mask, 2)
    assert wrong is not None


def test_what_a_shorter_text_gives_is_unknown_where_two_sizes_are_recorded() -> None:
    made = case("encoder-only", "input_ids:i64[b,s] attention_mask:i64[b,s] -> y:f32[b,18~25]")
    with pytest.raises(Unsupported, match="expected the shapes of thing"):
        made.reference(padded_inputs.shortened(made.inputs()))


def test_every_element_of_an_input_counts() -> None:
    made = case("vision", "pixel_values:f32[b,3,8,8] -> y:f32[b,4]")
    base = made.inputs()
    before = made.reference(base)["y"]
    for i in np.ndindex(3, 8, 8):
        pixels = base["pixel_values"].copy()
        pixels[(0, *i)] += 0.5
        after = made.reference({"pixel_values": pixels})["y"]
        assert np.abs(after[0] - before[0]).max() > 1e-3, i


def test_the_seed_and_the_entry_make_the_weights() -> None:
    text = "x:f32[b,4] -> y:f32[b,4]"
    models = [MockModel(line(text), seed) for seed in (0, 0, 1)]
    models.append(MockModel(dataclasses.replace(line(text), label="other")))
    x = case("structured", text).inputs()
    first, same, *others = (model(**x)["y"] for model in models)
    np.testing.assert_array_equal(first, same)
    assert all(not np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_dtype_rounds(dtype: str) -> None:
    made = case("decoder-only", LINES["decoder-only"][0])
    exact = made.reference(made.inputs())["last_hidden_state"]
    found = made.reference(made.inputs(), dtype)["last_hidden_state"]
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    low, high = {"float64": (0, 0), "float16": (1e-5, 1e-2)}.get(dtype, (1e-9, 1e-6))
    assert low <= error <= high


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_model_takes_the_real_ones_arguments(change: str) -> None:
    made = case("decoder-only", LINES["decoder-only"][0])
    inputs = made.inputs()
    if change == "missing":
        del inputs["input_ids"]
    else:
        inputs["labels"] = np.ones((2, 16))
    with pytest.raises(TypeError, match=r"ThingModel\.forward\(\) takes \['attention_mask'"):
        made.module()(**inputs)


def test_a_shape_that_nobody_recorded_is_refused() -> None:
    made = case("decoder-only", "input_ids:i64[b,s] -> y:f32[b,s,4]")
    with pytest.raises(ValueError, match=r"found \{'input_ids': \(2, 17\)\}"):
        made.module()(input_ids=np.ones((2, 17), dtype=np.int64))


def test_a_module_is_a_fresh_one() -> None:
    made = case("decoder-only", LINES["decoder-only"][0])
    before = made.reference(made.inputs())["last_hidden_state"]
    made.perturbed(made.inputs(), "mix", 0.1)
    made.module().to("float16").weights["mix"] = np.zeros(8)
    np.testing.assert_array_equal(made.reference(made.inputs())["last_hidden_state"], before)


@pytest.mark.parametrize("weight", ["read", "mix", "write"])
def test_every_weight_can_be_perturbed(weight: str) -> None:
    made = case("decoder-only", LINES["decoder-only"][0])
    x = made.inputs()
    before, small, large = (
        made.perturbed(x, weight, scale)["last_hidden_state"] for scale in (0.0, 1e-4, 1e-2)
    )
    moved = [np.linalg.norm(after - before) for after in (small, large)]
    assert 0 < 20 * moved[0] < moved[1]
    assert list(made.weights()) == ["read", "mix", "write"]


def test_the_mock_keeps_the_contract_of_a_case() -> None:
    made: Case = case("decoder-only", LINES["decoder-only"][0])
    assert isinstance(made, Case)
    assert str(made.config()) == f"thing ThingModel 1234 {LINES['decoder-only'][0]}"
    assert made.options() == {}
    assert made.outputs({"y": 1}) == {"y": 1}


# ---- saving, tokenizers, processors, pipelines


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    made = case("decoder-only", LINES["decoder-only"][0], seed=3)
    made.save(tmp_path / "new" / "folder")
    again = MockModel.from_pretrained(tmp_path / "new" / "folder", dtype="float64")
    want = made.reference(made.inputs())
    np.testing.assert_array_equal(
        again(**made.inputs())["last_hidden_state"], want["last_hidden_state"]
    )
    assert again.num_parameters() == 1234


def test_a_tokenizer_gives_each_word_its_id() -> None:
    tokenizer = MockTokenizer(line("input_ids:i64[b,s] -> y:f32[b,s,4]"))
    found = tokenizer(["the quick fox", "the fox"])
    ids, mask = found["input_ids"], found["attention_mask"]
    assert ids.shape == mask.shape == (2, 16)
    assert ids.dtype == np.int64
    assert ids[0, 0] == ids[1, 0]
    assert ids[0, 2] == ids[1, 1] != ids[0, 1]
    assert mask.sum(axis=1).tolist() == [3, 2]
    assert tokenizer("word " * 99)["input_ids"].shape == (1, 16)
    with pytest.raises(ValueError, match="return_tensors='np'"):
        tokenizer("x", return_tensors="pt")


def test_a_processor_fills_the_floating_inputs() -> None:
    processor = MockProcessor(line("pixel_values:f32[b,3,4,4] ids:i64[b,s] -> y:f32[b]"))
    found = processor(images=np.linspace(-1, 1, 10))
    assert {name: array.shape for name, array in found.items()} == {"pixel_values": (2, 3, 4, 4)}
    assert found["pixel_values"].dtype == np.float32
    np.testing.assert_array_equal(
        processor(audio=np.arange(5))["pixel_values"].flat[:6], [0, 1, 2, 3, 4, 0]
    )
    assert processor() == {}


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_goes_from_raw_input_to_outputs(name: str) -> None:
    made = case(*MODELS[name])
    asked = made.pipeline()
    assert asked.inputs is not None
    pipe = MockPipeline(asked.task, made.module(), **asked.components)
    got, want = pipe(asked.raw), made.reference(asked.inputs, "float32")
    assert all(np.array_equal(got[output], want[output]) for output in want)
    media = [value for key, value in example(made.line).items() if key != "text"]
    changed = pipe({"text": ["something else"] * 2, "images": 0.3 * media[0]})
    assert any(not np.array_equal(changed[output], got[output]) for output in got)


# ---- the backend


def test_an_entry_that_was_not_recorded_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock, "recorded", dict)
    with pytest.raises(Absent, match=r"requires a recorded signature; signatures\.txt has none"):
        mock.Backend({}).case(Entry("thing", "vision", "thing"), 0, "tiny")


def test_without_a_snapshot_there_is_no_mock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mock, "SNAPSHOT", tmp_path / "signatures.txt")
    mock.recorded.cache_clear()
    try:
        assert mock.recorded() == {}
        with pytest.raises(Unavailable, match="record` in torch-cpu's environment"):
            mock.Backend({}).probe()
    finally:
        mock.recorded.cache_clear()


def test_the_snapshot_is_read_by_entry_and_not_parsed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "signatures.txt"
    path.write_text("# a comment\n\nbert nonsense\ngpt2 GPT2Model 1 x:f32[b] -> y:f32[b]\n")
    monkeypatch.setattr(mock, "SNAPSHOT", path)
    mock.recorded.cache_clear()
    try:
        assert list(mock.recorded()) == ["bert", "gpt2"]
        made = mock.Backend({}).case(Entry("gpt2", "decoder-only", "gpt2"), 0, "tiny")
        assert made.parameters() == 1
    finally:
        mock.recorded.cache_clear()


def test_the_mock_says_that_it_is_none_of_the_real_ones() -> None:
    device = mock.Backend({}).probe()
    assert device.emulated
    assert device.versions == {"numpy": np.__version__}


def test_a_causal_family_has_causal_mocks() -> None:
    assert set(FAMILIES) >= mock.CAUSAL
    text = LINES["decoder-only"][0]
    for family in FAMILIES:
        assert case(family, text).module().causal == (family in mock.CAUSAL)


# ---- faults


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        ("nan", Outcome.FAIL, "on input 'base': last_hidden_state: 2048 of 2048 values are not"),
        ("drift", Outcome.FAIL, "on input 'base': last_hidden_state: relative error 0.001"),
    ],
)
def test_a_fault_in_the_numbers_is_found(
    monkeypatch: pytest.MonkeyPatch, fault: str, outcome: Outcome, reason: str
) -> None:
    result = run(monkeypatch, "decoder-only", LINES["decoder-only"][0], fault)
    assert (result.outcome, result.stage) == (outcome, Stage.VERIFY)
    assert result.reason.startswith(reason)


def test_a_fault_of_one_entry_leaves_the_others_alone() -> None:
    text = LINES["decoder-only"][0]
    backend = mock.Backend({"fault": "nan=another,drift=third"})
    made = case("decoder-only", text)
    outputs = backend.prepare(made, DEFAULT)(made.inputs())
    np.testing.assert_array_equal(
        outputs["last_hidden_state"], made.reference(made.inputs(), "float32")["last_hidden_state"]
    )


@pytest.mark.parametrize("text", ["nan", "nan=", "melt=bert", "nan=bert,melt=gpt2"])
def test_a_fault_that_there_is_not(text: str) -> None:
    with pytest.raises(HarnessError, match=r"expected --fault KIND=ENTRY with a kind of crash, "):
        mock.Backend({"fault": text})


def test_the_faults_that_the_toml_promises() -> None:
    from harness.catalog import backends

    assert set(backends.find("mock").faults) == set(mock.FAULTS)


def test_a_faulty_program_still_says_where_it_ran() -> None:
    made = case("decoder-only", LINES["decoder-only"][0])
    for kind in mock.FAULTS:
        program = mock.Backend({"fault": f"{kind}=thing"}).prepare(made, DEFAULT)
        assert program.placement() == Placement(1.0, "numpy")


def test_faults_that_end_a_process_cost_one_cell_each(workplace: Workplace) -> None:
    """Through pytest and real processes, on entries of the committed snapshot."""
    workplace.write(decoder_only="gpt2 llama qwen3", encoder_only="bert", vision="vit resnet swin")
    faults = [
        "crash=gpt2",
        "hang=llama",
        "oom=qwen3",
        "corrupt-result=bert",
        "nan=vit",
        "slow=swin",
    ]
    words = [word for fault in faults for word in ("--fault", fault)]
    done = workplace.run("mock", "--timeout=2", "-n2", *words, backends=BACKENDS)
    found = {name: (row["stage"], row["outcome"]) for name, row in workplace.cells("mock").items()}
    assert found == {
        "gpt2": ("run", "crash"),
        "llama": ("run", "timeout"),
        "qwen3": ("run", "oom"),
        "bert": ("run", "crash"),
        "vit": ("verify", "fail"),
        "resnet": ("measure", "pass"),
        "swin": ("measure", "pass"),
    }, done.stdout
    assert done.returncode == 1
