"""Further inputs: backends that bake a shape, ignore the mask or divide by it are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from function_backend import WIDTH, FunctionBackend, FunctionCase, FunctionProgram, Runner, right

from harness.catalog import model_lists
from harness.checks import variants
from harness.contract import (
    BASE,
    HIDDEN,
    PROCESSED,
    RESHAPED,
    SHORT,
    SIZES,
    WHOLE,
    Array,
    Arrays,
    CellResult,
    Outcome,
    Precision,
    Stage,
    Unsupported,
    label,
)
from harness.toolkit import padded_inputs, padding_exemptions

LENGTH, WORDS = 16, 97

PADDED_VARIANTS = [*padded_inputs.SIDES, *padded_inputs.ROWS.values()]

Model = Callable[[Arrays, Arrays], Arrays]


def attention(x: Arrays, w: Arrays, *, hidden: float = -3e4, positions: bool = False) -> Arrays:
    """Two layers of causal attention over the tokens that the mask lets through.

    Args:
        x: `input_ids` and `attention_mask`, (batch, length).
        w: weights, in the dtype to compute in.
        hidden: the score of what a token must not see.
        positions: whether a token knows where in its row it stands.
    """
    h = w["table"][x["input_ids"].astype(int)]
    length = h.shape[1]
    if positions:
        h = h + np.sin(np.arange(length))[:, None].astype(h.dtype)
    seen = np.tril(np.ones((length, length), dtype=bool)) & (x["attention_mask"][:, None] > 0)
    with np.errstate(invalid="ignore"):
        for _ in range(2):
            scores = h @ w["inner"] @ h.transpose(0, 2, 1)
            scores = np.where(seen, scores, scores.dtype.type(hidden))
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            h = h + shares / shares.sum(-1, keepdims=True) @ h @ w["outer"]
    return {"y": h}


def with_positions(x: Arrays, w: Arrays) -> Arrays:
    return attention(x, w, positions=True)


class TextCase(FunctionCase):
    """A decoder's case: tokens, their mask, and a function of both."""

    def __init__(self, function: Model = attention) -> None:
        super().__init__(function, family="decoder-only", architecture="texts")

    def module(self) -> Arrays:
        random = np.random.default_rng(0)
        shapes = {"table": (WORDS, WIDTH), "inner": (WIDTH, WIDTH), "outer": (WIDTH, WIDTH)}
        return {
            name: (random.standard_normal(shape) / WIDTH**0.5).astype(np.float32)
            for name, shape in shapes.items()
        }

    def weights(self) -> list[str]:
        return ["outer", "inner"]

    def inputs(self, variant: str = "base") -> Arrays:
        random = np.random.default_rng(list(variant.encode()))
        shape = (3, LENGTH + 6) if variant == RESHAPED else (2, LENGTH)
        ids = random.integers(1, WORDS, shape)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


class ImageCase(FunctionCase):
    """An image's case: sums of patches of 4 x 4 pixels, through two layers."""

    def __init__(self, least: int = 4) -> None:
        def function(x: Arrays, w: Arrays) -> Arrays:
            pixels = x["pixel_values"]
            batch, height, width = pixels.shape
            if height % least or width % least:
                raise ValueError(f"expected sides divisible by {least}")
            rows, columns = height // 4, width // 4
            cut = pixels[:, : rows * 4, : columns * 4].reshape(batch, rows, 4, columns, 4)
            patches = cut.transpose(0, 1, 3, 2, 4).reshape(batch, rows * columns, WIDTH)
            return {"y": np.tanh(patches @ w["inner"]) @ w["outer"]}

        super().__init__(function, family="vision", architecture="images")

    def inputs(self, variant: str = "base") -> Arrays:
        random = np.random.default_rng(list(variant.encode()))
        sides = {SIZES[0]: (9, 13), SIZES[1]: (8, 16)}.get(variant, (8, 8))
        shape = (3 if variant == RESHAPED else 2, *sides)
        return {"pixel_values": random.standard_normal(shape).astype(np.float32)}


class Wrapped(FunctionBackend):
    """A backend whose programs run `call(program, inputs)` for an inference."""

    def __init__(
        self,
        case: FunctionCase,
        call: Callable[[FunctionProgram, Arrays], Arrays] = FunctionProgram.__call__,
    ) -> None:
        super().__init__(case)
        self.call = call

    def prepare(self, case: FunctionCase, precision: Precision) -> FunctionProgram:
        call = self.call

        class Program(FunctionProgram):
            def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
                return call(self, dict(inputs))

        return Program(case, precision.dtype, right)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


@pytest.fixture
def spare(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Spares the text model a variant."""

    def add(variant: str, reason: str) -> None:
        table = {"texts": {variant: padding_exemptions.PaddingExemption(reason)}}
        monkeypatch.setattr(padding_exemptions, "exemptions", lambda: table)

    return add


def compared(result: CellResult) -> dict[str, bool]:
    """Variant -> whether it was compared."""
    prefix = "variant_"
    return {
        m.name.removeprefix(prefix): bool(m.value)
        for m in result.metrics
        if m.name.startswith(prefix)
    }


# ---- right backends


def test_a_right_backend_passes_on_all_of_them(run: Runner) -> None:
    result = run(Wrapped(TextCase()))
    assert result.outcome is Outcome.PASS, result.error
    assert compared(result) == dict.fromkeys([*PADDED_VARIANTS, RESHAPED], True)
    assert next(m.value for m in result.metrics if m.name == "variants") == 5


def test_what_stands_on_padding_is_not_compared(run: Runner) -> None:
    def rubbish(program: FunctionProgram, inputs: Arrays) -> Arrays:
        found = FunctionProgram.__call__(program, inputs)
        found["y"][inputs["attention_mask"] == 0] = np.nan
        return found

    assert run(Wrapped(TextCase(), rubbish)).outcome is Outcome.PASS


@pytest.mark.parametrize(("least", "name"), [(1, SIZES[0]), (4, SIZES[1])])
def test_an_image_is_odd_where_the_model_takes_that(run: Runner, least: int, name: str) -> None:
    result = run(Wrapped(ImageCase(least)))
    assert result.outcome is Outcome.PASS, result.error
    assert compared(result) == {RESHAPED: True, SIZES[0]: name == SIZES[0]} | {name: True}


# ---- wrong ones


def unmasked(program: FunctionProgram, inputs: Arrays) -> Arrays:
    mask = np.ones_like(inputs["attention_mask"])
    return FunctionProgram.__call__(program, {**inputs, "attention_mask": mask})


def unmasked_when_alone(program: FunctionProgram, inputs: Arrays) -> Arrays:
    call = unmasked if len(inputs["input_ids"]) == 1 else FunctionProgram.__call__
    return call(program, inputs)


def masked_as_first_row(program: FunctionProgram, inputs: Arrays) -> Arrays:
    mask = np.tile(inputs["attention_mask"][:1], (len(inputs["attention_mask"]), 1))
    return FunctionProgram.__call__(program, {**inputs, "attention_mask": mask})


def infinite(program: FunctionProgram, inputs: Arrays) -> Arrays:
    """A row that is masked whole is 0 / 0, and spreads from layer to layer."""
    weights = {name: w.astype(program.dtype) for name, w in program.weights.items()}
    return attention(inputs, weights, hidden=-np.inf)


def cut_to_the_batch(program: FunctionProgram, inputs: Arrays) -> Arrays:
    found = FunctionProgram.__call__(program, inputs)
    found["y"][2:] = found["y"][:1]
    return found


def cut_to_the_length(program: FunctionProgram, inputs: Arrays) -> Arrays:
    """Outputs behind the first example's length repeat the last one before it."""
    found = FunctionProgram.__call__(program, inputs)
    found["y"][:, LENGTH:] = found["y"][:, LENGTH - 1 : LENGTH]
    return found


NOT_FINITE = "y: 192 of 448 values are not finite"

SILENT: Mapping[str, tuple[Callable[[FunctionProgram, Arrays], Arrays], str]] = {
    "ignores the mask": (unmasked, "on input 'left-padded': y: relative error"),
    "takes one row's mask for all": (
        masked_as_first_row,
        "on input 'left-padded': y: relative error",
    ),
    "ignores the mask of a single row": (
        unmasked_when_alone,
        "on input 'left-padded-row': y: relative error",
    ),
    "NaN under left padding": (infinite, f"on input 'left-padded': {NOT_FINITE}"),
    "bakes the batch": (cut_to_the_batch, "on input 'reshaped': y: relative error"),
    "bakes the length": (cut_to_the_length, "on input 'reshaped': y: relative error"),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_silent_fault_fails_with_the_variants_name(run: Runner, name: str) -> None:
    call, reason = SILENT[name]
    result = run(Wrapped(TextCase(), call))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith(reason)
    assert result.cause.startswith("CheckFailed: on input '")


def test_a_baked_image_size_is_found(run: Runner) -> None:
    def patches(program: FunctionProgram, inputs: Arrays) -> Arrays:
        """The patches of a wide image in the order of a narrow one."""
        found = FunctionProgram.__call__(program, inputs)
        if inputs["pixel_values"].shape[2] > 8:
            found["y"] = found["y"][:, ::-1]
        return found

    result = run(Wrapped(ImageCase(), patches))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith("on input 'other-size': y: relative error")


def one_shape(program: FunctionProgram, inputs: Arrays) -> Arrays:
    if inputs["input_ids"].shape != (2, LENGTH):
        raise RuntimeError("expected shape [2, 16]\nat aten::reshape")
    return FunctionProgram.__call__(program, inputs)


def test_what_a_program_raises_says_on_which_input(run: Runner) -> None:
    result = run(Wrapped(TextCase(), one_shape))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.RUN)
    assert result.reason.startswith("on input 'reshaped': RuntimeError: expected shape [2, 16]")
    assert result.cause.startswith("RuntimeError: expected shape")


def test_a_backend_for_one_shape_says_so_and_still_gets_padded_rows(run: Runner) -> None:
    for call, outcome in ((one_shape, Outcome.PASS), (unmasked, Outcome.FAIL)):
        backend = Wrapped(TextCase(), call)
        backend.dynamic = False  # type: ignore[attr-defined]
        result = run(backend)
        assert result.outcome is outcome, result.error
        assert compared(result)["left-padded"]
        assert not compared(result)["left-padded-row"]
        assert not compared(result)[RESHAPED]


def test_a_variant_on_which_noise_decides_more_has_a_floor_of_its_own(run: Runner) -> None:
    def near_a_tie(x: Arrays, w: Arrays) -> Arrays:
        found = attention(x, w)
        return {"y": found["y"] + np.sin(1e4 * found["y"])} if len(found["y"]) == 3 else found

    def off(by: float) -> FunctionBackend:
        def call(program: FunctionProgram, inputs: Arrays) -> Arrays:
            found = FunctionProgram.__call__(program, inputs)["y"]
            return {"y": found * np.float32(1 + by) if len(found) == 3 else found}

        return Wrapped(TextCase(near_a_tie), call)

    result = run(off(0.0))
    assert result.outcome is Outcome.PASS, result.error
    assert result.noise_floor is not None
    assert result.noise_floor < 1e-5
    assert run(off(0.5)).reason.startswith("on input 'reshaped': y: relative error 0.5")


# ---- models that do not take one, or do not keep to it


def test_a_model_that_gives_padded_rows_something_else(
    run: Runner, spare: Callable[[str, str], None]
) -> None:
    made = TextCase(with_positions)
    result = run(Wrapped(made))
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert result.reason.startswith(
        "on input 'left-padded': expected padding to change no real token; y moved by"
    )
    assert "right-padded" not in result.reason
    assert result.further == []
    wrong_too = run(Wrapped(made, unmasked))
    assert wrong_too.outcome is Outcome.LIBRARY
    assert [(f.outcome, f.stage) for f in wrong_too.further] == [(Outcome.FAIL, Stage.VERIFY)]
    spare("right-padded", "of no use here")
    assert run(Wrapped(made)).outcome is Outcome.LIBRARY
    spare("left-padded", "Counts positions from the left.")
    result = run(Wrapped(made))
    assert result.outcome is Outcome.PASS
    assert compared(result)["left-padded"]
    # What it gives there is what a backend has to give.
    assert run(Wrapped(made, unmasked)).reason.startswith("on input 'left-padded': y: relative")


def test_a_model_that_leaves_the_mask_of_a_single_row_out(run: Runner) -> None:
    def unless_alone(x: Arrays, w: Arrays) -> Arrays:
        alone = len(x["input_ids"]) == 1
        mask = np.ones_like(x["attention_mask"]) if alone else x["attention_mask"]
        return attention({**x, "attention_mask": mask}, w)

    result = run(Wrapped(TextCase(unless_alone)))
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert result.reason.startswith(
        "on input 'left-padded-row': expected padding to change no real token; y moved by"
    )


def test_a_model_that_raises_on_a_padded_single_row(run: Runner) -> None:
    def refuses(x: Arrays, w: Arrays) -> Arrays:
        if len(x["input_ids"]) == 1:
            raise ValueError("expected two rows")
        return attention(x, w)

    result = run(Wrapped(TextCase(refuses)))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert result.reason == (
        "on input 'left-padded-row': ValueError: expected two rows; also on 'right-padded-row'"
    )
    assert compared(result)["left-padded"]


def test_a_model_that_takes_no_padded_rows(run: Runner, spare: Callable[[str, str], None]) -> None:
    def refuses(x: Arrays, w: Arrays) -> Arrays:
        if (x["attention_mask"] == 0).any():
            raise NotImplementedError("no padding here")
        return attention(x, w)

    result = run(Wrapped(TextCase(refuses)))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert result.reason == (
        "on input 'left-padded': NotImplementedError: no padding here; "
        "also on 'right-padded', 'left-padded-row', 'right-padded-row'"
    )
    spare(padding_exemptions.PADDED, "Says so.")
    result = run(Wrapped(TextCase(refuses)))
    assert result.outcome is Outcome.PASS
    assert compared(result) == {**dict.fromkeys(PADDED_VARIANTS, False), RESHAPED: True}


def test_the_padded_batches_are_those_that_a_cell_is_asked_with(
    spare: Callable[[str, str], None],
) -> None:
    case: Any = TextCase()
    base = case.inputs()
    asked = variants.of(case, base, case.reference(base), "float64")
    padded = padded_inputs.padded_batches(case, base)
    assert list(padded) == ["left-padded", "right-padded"]
    for name, inputs in padded.items():
        variant = asked.get(name)
        assert variant is not None
        assert inputs["attention_mask"].min() == 0
        np.testing.assert_equal(inputs, variant.inputs)
    assert padded_inputs.padded_batches(case, {"input_ids": base["input_ids"]}) == {}
    spare(padding_exemptions.PADDED, "Says so.")
    assert padded_inputs.padded_batches(case, base) == {}


def test_at_full_size_other_shapes_alone_are_compared(run: Runner) -> None:
    result = run(Wrapped(TextCase()), size="full")
    assert result.outcome is Outcome.PASS
    assert compared(result) == {RESHAPED: True}
    everything = run(Wrapped(TextCase()), size="full", checks="deep")
    assert compared(everything) == {**dict.fromkeys(PADDED_VARIANTS, True), RESHAPED: True}


def test_a_case_without_a_shorter_text_is_recorded(run: Runner) -> None:
    class Recorded(TextCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            if inputs["input_ids"].shape[1] < LENGTH:
                raise Unsupported("not recorded")
            return super().reference(inputs, dtype, seed=seed)

    result = run(Wrapped(Recorded()))
    assert result.outcome is Outcome.PASS
    assert compared(result) == {**dict.fromkeys(PADDED_VARIANTS, False), RESHAPED: True}


@pytest.mark.parametrize("least", [8, 9])
def test_a_model_for_one_size_of_image_is_recorded(run: Runner, least: int) -> None:
    class Still(ImageCase):
        def inputs(self, variant: str = "base") -> Arrays:
            found = super().inputs(variant)
            return super().inputs("base") if variant in SIZES and least == 9 else found

    case = Still(8)
    if least == 8:
        forward = case.function

        def square(x: Arrays, w: Arrays) -> Arrays:
            if x["pixel_values"].shape[1:] != (8, 8):
                raise ValueError("expected an image of 8 x 8")
            return forward(x, w)

        case.function = square
    result = run(Wrapped(case))
    assert result.outcome is Outcome.PASS, result.error
    assert compared(result) == {RESHAPED: True, SIZES[0]: False, SIZES[1]: False}


def test_a_mask_that_only_single_precision_holds(run: Runner) -> None:
    """As a softmax in float32 does to scores that are masked with the least float64."""

    def narrowing(x: Arrays, w: Arrays) -> Arrays:
        return attention(x, w, hidden=-np.inf if w["inner"].dtype == np.float64 else -3e4)

    result = run(Wrapped(TextCase(narrowing)))
    assert result.outcome is Outcome.PASS, result.error
    assert run(Wrapped(TextCase(narrowing), infinite)).reason.startswith(
        f"on input 'left-padded': {NOT_FINITE}"
    )


# ---- the table of exemptions


def test_every_exemption_has_a_reason_and_names_what_exists() -> None:
    entries = model_lists.load().entries.values()
    listed = {label(e.architecture, head) for e in entries for head in (BASE, *e.heads)}
    listed |= {e.name for e in entries if e.branch_of}
    # Lists of others ask for classifiers of architectures whose entries here have another task.
    named = {e.architecture for e in entries} | {f"family {e.family}" for e in entries}
    listed |= {label(name, "text-classification") for name in named}
    known = set(padding_exemptions.VARIANTS)
    for architecture, spared in padding_exemptions.exemptions().items():
        assert architecture in listed, f"no entry has the architecture {architecture}"
        assert spared.keys() <= known, architecture
        assert all(len(row.reason) > 20 for row in spared.values()), architecture
        assert all(row.outputs != () for row in spared.values()), architecture
        assert padding_exemptions.PADDED not in spared or len(spared) == 1, architecture


def test_the_table_is_read_by_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "padding_exemptions.toml").write_text(
        '[[exemption]]\nvariants = ["left-padded"]\narchitectures = ["a", "b"]\nreason = "1"\n'
        '[[exemption]]\nvariants = ["right-padded"]\narchitectures = ["b"]\nreason = "2"\n'
        'outputs = ["pooler"]\n'
    )
    monkeypatch.setattr(padding_exemptions, "__file__", str(tmp_path / "padding_exemptions.py"))
    assert padding_exemptions.exemptions.__wrapped__() == {
        "a": {"left-padded": padding_exemptions.PaddingExemption("1")},
        "b": {
            "left-padded": padding_exemptions.PaddingExemption("1"),
            "right-padded": padding_exemptions.PaddingExemption("2", ("pooler",)),
        },
    }


def test_an_exemption_may_be_for_some_outputs_only() -> None:
    some = padding_exemptions.PaddingExemption("why", ("pooler", "mems"))
    assert [some.covers(name) for name in ("pooler_output", "mems.1", "y")] == [True, True, False]
    assert padding_exemptions.PaddingExemption("why").covers("y")


def test_text_of_the_least_length_has_something_left() -> None:
    assert padded_inputs.SHORTEST > padded_inputs.SHORTER + 1


def test_a_later_token_that_reaches_an_earlier_one_is_the_librarys_fault(run: Runner) -> None:
    def leaking(x: Arrays, w: Arrays) -> Arrays:
        y = attention(x, w)["y"]
        return {"y": y + 1e-3 * y.mean(axis=1, keepdims=True)}

    result = run(Wrapped(TextCase(leaking)))
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert result.reason.startswith("decoder-only check 'causal': expected token")
    assert result.cause == "LibraryFault: decoder-only check 'causal'"


# ---- masks of sound


FRAMES = 18  # other than there are bands


class SoundCase(FunctionCase):
    """Frames of sound through two layers, and their sum over what the mask lets through."""

    def __init__(self, function: Model) -> None:
        super().__init__(function, family="speech", architecture="sounds")

    def inputs(self, variant: str = "base") -> Arrays:
        random = np.random.default_rng(list(variant.encode()))
        short = variant == SHORT + "sound"
        shape = (3 if variant == RESHAPED else 2, 10 if short else FRAMES)
        sound = random.standard_normal((*shape, WIDTH)).astype(np.float32)
        if variant not in {kind + "sound" for kind in (WHOLE, SHORT, HIDDEN)}:
            return {"input_features": sound}
        mask = np.ones(shape, dtype=np.int64)
        mask[:, 10 if variant == HIDDEN + "sound" else FRAMES :] = 0
        return {"input_features": sound, "input_features_mask": mask}

    def padding(self) -> int:
        return 0


def summed(x: Arrays, w: Arrays) -> Arrays:
    frames = np.tanh(x["input_features"] @ w["inner"])
    mask = x.get("input_features_mask", np.ones(frames.shape[:2]))
    return {"y": (frames * mask[..., None]).sum(axis=1) @ w["outer"]}


def spilling(x: Arrays, w: Arrays) -> Arrays:
    """Rows that are all taken to be as long as the mean."""
    mask = x.get("input_features_mask", np.ones(x["input_features"].shape[:2])).copy()
    mask[:] = np.arange(mask.shape[1]) < mask.sum() // len(mask)
    return summed({**x, "input_features_mask": mask}, w)


def for_one_length(x: Arrays, w: Arrays) -> Arrays:
    if x["input_features"].shape[1] != FRAMES:
        raise ValueError(f"expected {FRAMES} frames")
    return summed(x, w)


class AnyArguments(Wrapped):
    any_arguments = True


@pytest.mark.parametrize("model", [summed, for_one_length])
def test_a_shorter_recording_is_padded_where_the_model_takes_a_mask(
    run: Runner, model: Model
) -> None:
    result = run(AnyArguments(SoundCase(model)))
    assert result.outcome is Outcome.PASS, result.error
    assert compared(result)["sound-padded"]


def test_a_backend_that_ignores_the_mask_of_sound_is_found(run: Runner) -> None:
    def unmasked_sound(program: FunctionProgram, inputs: Arrays) -> Arrays:
        plain = {"input_features": inputs["input_features"] + np.float32(0.0)}
        if "input_features_mask" in inputs:
            plain["input_features"][inputs["input_features_mask"] == 0] = 0.5
        return FunctionProgram.__call__(program, plain)

    result = run(AnyArguments(SoundCase(summed), unmasked_sound))
    assert result.reason.startswith("on input 'sound-padded': y: relative error")


def test_a_model_whose_lengths_spill_from_row_to_row_is_found(run: Runner) -> None:
    result = run(AnyArguments(SoundCase(spilling)))
    assert result.stage is Stage.REFERENCE
    assert result.reason.startswith("on input 'sound-padded': expected padding to change no real")


def test_a_model_that_has_no_use_for_the_mask_of_sound_is_found(run: Runner) -> None:
    def deaf(x: Arrays, w: Arrays) -> Arrays:
        return for_one_length({"input_features": x["input_features"]}, w)

    result = run(AnyArguments(SoundCase(deaf)))
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert result.reason.startswith("on input 'sound-padded': expected padding to change no real")


def test_masks_are_left_out_where_programs_take_the_plain_arguments(run: Runner) -> None:
    result = run(Wrapped(SoundCase(summed)))
    assert result.outcome is Outcome.PASS, result.error
    assert not compared(result)["sound-padded"]


def test_a_case_without_masks_has_no_padded_media(run: Runner) -> None:
    result = run(AnyArguments(ImageCase()))
    assert not any("padded" in name for name in compared(result))


# ---- arguments that processors send


class TypedCase(TextCase):
    """A text whose tokens may have types."""

    def inputs(self, variant: str = "base") -> Arrays:
        found = super().inputs("base" if variant == PROCESSED else variant)
        if variant == PROCESSED:
            found["token_type_ids"] = (found["input_ids"] % 2).astype(np.int64)
        return found


def typed(x: Arrays, w: Arrays) -> Arrays:
    found = attention({n: a for n, a in x.items() if n != "token_type_ids"}, w)
    types = x.get("token_type_ids", np.zeros(1))
    return {"y": found["y"] * (1 + types[..., None].astype(found["y"].dtype))}


def test_an_argument_that_processors_send_is_given(run: Runner) -> None:
    result = run(AnyArguments(TypedCase(typed)))
    assert result.outcome is Outcome.PASS, result.error
    assert compared(result)[PROCESSED]

    def untyped(program: FunctionProgram, inputs: Arrays) -> Arrays:
        plain = {n: a for n, a in inputs.items() if n != "token_type_ids"}
        return FunctionProgram.__call__(program, plain)

    result = run(AnyArguments(TypedCase(typed), untyped))
    assert result.reason.startswith("on input 'processed': y: relative error")
    assert not compared(run(Wrapped(TypedCase(typed))))[PROCESSED]


def test_an_argument_that_the_model_refuses_is_recorded(run: Runner) -> None:
    def refuses(x: Arrays, w: Arrays) -> Arrays:
        if "token_type_ids" in x:
            raise ValueError("no types here")
        return attention(x, w)

    result = run(AnyArguments(TypedCase(refuses)))
    assert result.outcome is Outcome.PASS, result.error
    assert not compared(result)[PROCESSED]
