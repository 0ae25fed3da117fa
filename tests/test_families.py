"""Properties of families: each probe lets right models pass, and finds wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.catalog import exemptions, model_lists
from harness.checks import families, half_precision, long_text, own_generate
from harness.checks.families import probe as probing
from harness.checks.families.probe import Probe
from harness.checks.known_answers import answer
from harness.contract import FAMILIES, Array, Arrays, label

BATCH, LENGTH, WIDTH = 2, 16, 8

Model = Callable[[Arrays], Arrays]

SHAPES: dict[str, tuple[int, ...]] = {
    "input_ids": (BATCH, LENGTH),
    "decoder_input_ids": (BATCH, LENGTH // 2),
    "pixel_values": (BATCH, 3, 8, 8),
    "pixel_values_videos": (BATCH, 4, 3, 8, 8),
    "input_values": (BATCH, 100),
    "input_features": (BATCH, 20, 30),
    "hidden_states": (BATCH * 9, 12),
    "past_values": (BATCH, 20),
    "sample": (BATCH, 4, 8, 8),
    "timestep": (BATCH,),
    "encoder_hidden_states": (BATCH, 5, WIDTH),
    "states": (BATCH, 6, 3),
    "edge_index": (2, 30),
    "doc_scores": (BATCH, 3),
    "context_input_ids": (BATCH * 3, LENGTH),
}
INTEGERS = {"input_ids", "decoder_input_ids", "edge_index", "context_input_ids"}


def inputs(*names: str, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        name: random.integers(3, 96, SHAPES[name])
        if name in INTEGERS
        else random.standard_normal(SHAPES[name])
        for name in names
    }


def probes(family: str, *names: str, architecture: str = "plain") -> tuple[Arrays, list[Probe]]:
    """The plain inputs, and a family's probes for a model with these arguments."""
    base = inputs(*names, seed=1)
    return base, families.probes(family, architecture, base, inputs(*names, seed=2))


def violations(family: str, model: Model, *names: str) -> dict[str, str]:
    """Violations that a family's probes find in a model, by probe."""
    base, made = probes(family, *names)
    found = {p.name: p.violation(model(base), model(p.inputs)) for p in made}
    return {name: text for name, text in found.items() if text}


# ---- models that behave, and models that do not


def vectors(sequence: Array) -> Array:
    """One vector for each position: (batch, length) -> (batch, length, width)."""
    return np.asarray(np.sin(sequence[..., None] * 0.05 * (1 + np.arange(WIDTH))))


def total(value: Array) -> float:
    """A number that every element of an array moves."""
    weights = np.cos(np.arange(value.size))
    return float(weights @ value.ravel() / value.size)


def causal(given: Arrays, name: str = "input_ids") -> Arrays:
    ids = given[name]
    seen = np.cumsum(ids * np.cos(np.arange(ids.shape[1])), axis=1)
    rest = sum(total(value) for key, value in given.items() if key != name)
    return {"last_hidden_state": vectors(seen) + rest}


def bidirectional(given: Arrays) -> Arrays:
    ids = given["input_ids"]
    mixed = ids + ids @ np.cos(np.arange(ids.shape[1]))[:, None]
    return {"last_hidden_state": vectors(mixed)}


def without_mixing(given: Arrays) -> Arrays:
    return {"last_hidden_state": vectors(given["input_ids"])}


def decoder(given: Arrays) -> Arrays:
    return causal(given, "decoder_input_ids")


def blind_to(*names: str) -> Model:
    """A model that reads all of its inputs but these."""

    def model(given: Arrays) -> Arrays:
        read = {name: value for name, value in given.items() if name not in names}
        return {"y": np.full((BATCH, 4), sum(map(total, read.values()))) + np.arange(4)}

    return model


attentive = blind_to()


# ---- all families


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_probes_for_its_models(family: str) -> None:
    _, made = probes(family, *SHAPES)
    assert made
    assert len({p.name for p in made}) == len(made)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_probe_is_an_input_of_the_same_kind_with_other_values(family: str) -> None:
    base, made = probes(family, *SHAPES)
    before = {name: value.copy() for name, value in base.items()}
    for p in made:
        assert p.inputs.keys() == base.keys()
        changed = [name for name in base if not np.array_equal(p.inputs[name], base[name])]
        assert len(changed) == 1, p.name
        for name, value in p.inputs.items():
            assert (value.shape, value.dtype) == (base[name].shape, base[name].dtype)
    # Probes leave the plain inputs as they were.
    assert all(np.array_equal(before[name], base[name]) for name in base)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_asks_nothing_of_inputs_that_a_model_lacks(family: str) -> None:
    assert families.probes(family, "plain", {}, {}) == []


# ---- text


@pytest.mark.parametrize("family", ["decoder-only", "mixture-of-experts", "state-space"])
def test_decoders_see_no_later_token(family: str) -> None:
    assert violations(family, causal, "input_ids") == {}
    wrong = violations(family, bidirectional, "input_ids")
    assert "expected token 12 to leave last_hidden_state[:, :12] alone" in wrong["causal"]


@pytest.mark.parametrize("family", ["decoder-only", "mixture-of-experts", "state-space"])
def test_a_decoder_that_ignores_a_token_is_not_causal_either(family: str) -> None:
    def first_token_only(given: Arrays) -> Arrays:
        return causal({"input_ids": np.tile(given["input_ids"][:, :1], (1, LENGTH))})

    wrong = violations(family, first_token_only, "input_ids")
    assert wrong["causal"] == "expected token 12 to change last_hidden_state after it"


def test_encoders_see_every_token() -> None:
    assert violations("encoder-only", bidirectional, "input_ids") == {}
    assert "bidirectional" in violations("encoder-only", causal, "input_ids")
    assert "bidirectional" in violations("encoder-only", without_mixing, "input_ids")


def test_the_state_carries_the_first_token_to_the_last() -> None:
    def forgetful(given: Arrays) -> Arrays:
        ids = given["input_ids"]
        return {"last_hidden_state": vectors(ids + np.roll(ids, 1, axis=1) * (np.arange(16) > 0))}

    assert set(violations("state-space", forgetful, "input_ids")) == {"state"}
    assert violations("decoder-only", forgetful, "input_ids") == {}


def test_experts_are_chosen_row_by_row() -> None:
    def crowded(given: Arrays) -> Arrays:
        """Capacity is shared by the batch: row 0 changes with what row 1 takes."""
        return {"y": causal(given)["last_hidden_state"] + given["input_ids"][1:2, :1, None]}

    assert set(violations("mixture-of-experts", crowded, "input_ids")) == {"routing-per-row"}


def test_encoder_decoders_read_the_source_and_are_causal() -> None:
    names = ("input_ids", "decoder_input_ids")
    assert violations("encoder-decoder", decoder, *names) == {}

    def deaf(given: Arrays) -> Arrays:
        own = {"decoder_input_ids": given["decoder_input_ids"]}
        return {**decoder(own), "encoder_last_hidden_state": vectors(given["input_ids"])}

    assert set(violations("encoder-decoder", deaf, *names)) == {"cross-attention"}

    def leaky(given: Arrays) -> Arrays:
        given = {**given, "decoder_input_ids": given["decoder_input_ids"][:, ::-1]}
        return decoder(given)

    assert set(violations("encoder-decoder", leaky, *names)) == {"causal"}
    # Translation models with experts are encoder-decoders.
    assert set(violations("mixture-of-experts", leaky, *names)) == {"causal"}


def test_the_decoder_of_an_image_model_reads_the_image() -> None:
    names = ("pixel_values", "decoder_input_ids")
    family = "vision-encoder-text-decoder"
    assert violations(family, decoder, *names) == {}
    wrong = violations(family, lambda given: decoder({**given, "pixel_values": np.ones(1)}), *names)
    assert set(wrong) == {"cross-attention"}


# ---- images, sound and the rest


@pytest.mark.parametrize(
    ("family", "names", "probe"),
    [
        ("multimodal", ("input_ids", "pixel_values"), "pixel_values-counts"),
        ("multimodal", ("input_ids", "input_features"), "input_features-counts"),
        ("multimodal", ("pixel_values", "input_ids"), "text-counts"),
        ("vision-encoder-text-decoder", ("input_ids", "pixel_values"), "pixel_values-counts"),
        ("diffusion", ("sample", "timestep", "encoder_hidden_states"), "sample-counts"),
        ("diffusion", ("timestep", "sample", "encoder_hidden_states"), "timestep-counts"),
        ("diffusion", ("encoder_hidden_states", "sample"), "encoder_hidden_states-counts"),
        ("structured", ("states", "input_ids"), "states-counts"),
        ("structured", ("input_ids", "states"), "input_ids-counts"),
        ("structured", ("edge_index", "states"), "edge_index-counts"),
        ("rag", ("context_input_ids", "doc_scores"), "context_input_ids-counts"),
        ("rag", ("doc_scores", "context_input_ids"), "doc_scores-counts"),
    ],
)
def test_every_input_counts(family: str, names: tuple[str, ...], probe: str) -> None:
    assert violations(family, attentive, *names) == {}
    ignored = {"text-counts": "input_ids"}.get(probe, probe.removesuffix("-counts"))
    wrong = violations(family, blind_to(ignored), *names)
    assert set(wrong) == {probe}
    assert wrong[probe] == f"expected {ignored} alone to change the outputs; y stayed the same"


def test_a_question_counts_where_nothing_is_retrieved() -> None:
    assert violations("rag", attentive, "input_ids") == {}
    assert set(violations("rag", lambda _: {"y": np.arange(4.0)}, "input_ids")) == {
        "question-counts"
    }


#: Media in each layout, and the axes whose last quarter counts, from the end. Time, width and
#: patches stand on one axis or another.
MEDIA: list[tuple[str, str, tuple[int, ...], tuple[int, ...]]] = [
    ("vision", "pixel_values", (BATCH, 3, 8, 8), (-1,)),
    ("vision", "pixel_values", (BATCH, 8, 8, 3), (-2,)),
    ("vision", "pixel_values", (BATCH, 9, 12), (-2,)),
    ("vision", "pixel_values_videos", (BATCH, 4, 3, 8, 8), (-1,)),
    ("vision", "hidden_states", (BATCH * 9, 12), (-2,)),
    ("speech", "input_values", (BATCH, 100), (-1,)),
    ("speech", "input_values", (BATCH, 1, 100), (-1,)),
    ("speech", "input_values", (BATCH, 20, 30), (-2, -1)),
    ("speech", "input_features", (BATCH, 20, 30), (-2, -1)),
    ("speech", "audio_mel", (BATCH, 20, 30), (-2, -1)),
    ("speech", "raw_audio", (BATCH, 100, 1), (-2,)),
    ("speech", "latents", (BATCH, 8, 16), (-2, -1)),
    ("speech", "input_ids", (BATCH, LENGTH), (-1,)),
    ("speech", "input_ids", (BATCH, LENGTH, 5), (-2, -1)),
]


@pytest.mark.parametrize(("family", "name", "shape", "axes"), MEDIA)
def test_the_end_of_a_medium_counts(
    family: str, name: str, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    base, other = ({name: np.random.default_rng(seed).random(shape)} for seed in (1, 2))
    made = families.probes(family, "plain", base, other)
    whole = attentive(base)
    assert [p.violation(whole, attentive(p.inputs)) for p in made] == [None] * len(axes)
    for axis in axes:

        def nearsighted(given: Arrays, axis: int = axis) -> Arrays:
            """Reads the first three quarters, as a wrong stride or a lost patch makes it."""
            part = np.take(given[name], range(shape[axis] * 3 // 4), axis)
            return {"y": total(part) + np.arange(4)}

        wrong = [p.name for p in made if p.violation(nearsighted(base), nearsighted(p.inputs))]
        assert wrong == ["whole-input" if axis == -1 else f"whole-input{axis}"]


def test_a_codec_may_round_a_small_change_away() -> None:
    """A recording of one frame, of which a quarter leaves all codes, as in Mimi at seed 70031."""
    base, other = ({"input_values": np.full((BATCH, 1, 16), value)} for value in (0.1, 0.3))
    (probe,) = families.probes("speech", "plain", base, other)

    def codec(given: Arrays, reads: int = 16) -> Arrays:
        return {"y": np.round(given["input_values"][..., :reads].mean(-1)) + np.arange(4.0)}

    assert probe.violation(codec(base), codec(probe.inputs)) is not None
    asked = probe.ask(codec, codec(base))
    assert asked.violation is None
    assert asked.inputs["input_values"][..., -1].max() == 0.3 * probing.STRONGER
    assert np.array_equal(asked.outputs["y"], codec(asked.inputs)["y"])

    def nearsighted(given: Arrays) -> Arrays:
        return codec(given, reads=12)

    asked = probe.ask(nearsighted, nearsighted(base))
    assert asked.violation is not None


def test_the_distant_past_counts() -> None:
    def recent(given: Arrays) -> Arrays:
        return {"y": total(given["past_values"][:, 10:]) + np.arange(4)}

    assert violations("time-series", attentive, "past_values") == {}
    assert set(violations("time-series", recent, "past_values")) == {"past-counts"}


# ---- the parts


def test_what_an_encoder_returns_beside_does_not_count_as_an_answer() -> None:
    violation = probing.moves("x")
    still, one, two = np.arange(4.0), np.arange(4.0), np.arange(4.0) + 1
    before, after = ({"y": still, "encoder_y": array} for array in (one, two))
    assert violation(before, after) is not None
    # An encoder on its own has nothing else.
    assert violation({"encoder_y": one}, {"encoder_y": two}) is None


def test_the_output_that_is_looked_at_has_a_vector_for_each_token() -> None:
    sequence = np.random.default_rng(0).standard_normal((2, 5, 3))
    outputs = {
        "pooled": sequence[:, 0],
        "encoder_states": sequence,
        "constant": np.ones((2, 5, 3)),
        "codes": np.arange(30).reshape(2, 5, 3),
        "states": sequence,
    }
    assert probing.sequence_output(outputs, 5) == "states"
    assert probing.sequence_output(outputs, 6) is None


@pytest.mark.parametrize("vocabulary", [2, 3, 96])
@pytest.mark.parametrize("position", [0, 3, 15])
def test_the_one_token_that_changes_does_change(vocabulary: int, position: int) -> None:
    random = np.random.default_rng(vocabulary)
    base, other = ({"input_ids": random.integers(0, vocabulary, (8, 16))} for _ in range(2))
    changed = probing.only_token(base, other, "input_ids", position)["input_ids"]
    different = changed != base["input_ids"]
    assert different[:, position].all()
    assert different.sum() == len(different)


def test_movement_is_relative_and_sees_another_shape() -> None:
    a = np.array([1.0, 100.0, np.nan])
    assert probing.movement(a, np.array([2.0, 100.0, 5.0])) == pytest.approx(0.01)
    assert probing.movement(a, a[:2]) == float("inf")
    assert probing.movement(a[2:], a[2:]) == 0.0


# ---- exemptions


def test_an_exception_spares_one_check_of_one_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"odd": {"causal": "It looks both ways."}}
    monkeypatch.setattr(exemptions, "exemptions", lambda: table)
    _, made = probes("state-space", "input_ids", architecture="odd")
    assert [p.name for p in made] == ["state"]
    _, made = probes("state-space", "input_ids", architecture="even")
    assert [p.name for p in made] == ["causal", "state"]


def test_every_exception_has_a_reason_and_names_what_exists() -> None:
    listed = {entry.architecture for entry in model_lists.load().entries.values()}
    labels = {
        label(e.architecture, h) for e in model_lists.load().entries.values() for h in e.heads
    }
    names = {p.name for family in FAMILIES for p in probes(family, *SHAPES)[1]}
    for architecture, checks in exemptions.exemptions().items():
        assert architecture in listed | labels, f"no entry has the architecture {architecture}"
        for check, reason in checks.items():
            # Each argument of a model may have a check of its own.
            known = check in {
                *names,
                "generate",
                half_precision.NAME,
                answer.NAME,
                long_text.NAME,
                own_generate.NAME,
            }
            known = known or check.startswith("pipeline:")
            own = check.endswith("-counts") or check.startswith(exemptions.SCALE)
            assert known or own, f"{architecture}: {check}"
            assert len(reason) > 20, f"{architecture}: {check} has no reason"
