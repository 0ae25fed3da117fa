"""Padded rows: how they are made, and which elements of an output stand on no padding."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks import padded_outputs
from harness.contract import Array, Arrays
from harness.toolkit import padded_inputs
from harness.toolkit.padded_inputs import Side

ROWS, LENGTH, LEFT = 2, 16, 16 - padded_inputs.SHORTER
LENGTHS = LENGTH, LEFT


def text() -> Arrays:
    ids = np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) + 1
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "bbox": np.stack([ids] * 4, axis=-1),
        "pixel_values": np.ones((ROWS, LENGTH, 3)),
        "decoder_input_ids": ids[:, :8],
    }


def test_a_shorter_text_keeps_its_beginning_and_its_last_token() -> None:
    short = padded_inputs.shortened(text())
    assert short["input_ids"].shape == short["attention_mask"].shape == (ROWS, LEFT)
    assert short["input_ids"][0].tolist() == [*range(1, LEFT), LENGTH]
    np.testing.assert_array_equal(short["bbox"][..., 2], short["input_ids"])
    for name in ("pixel_values", "decoder_input_ids"):
        np.testing.assert_array_equal(short[name], text()[name])


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_the_last_row_is_padded(side: Side) -> None:
    base = text()
    short = padded_inputs.shortened(base)
    made = padded_inputs.padded(base, short, side, token=99)
    tokens = slice(padded_inputs.SHORTER, None) if side == "left" else slice(0, LEFT)
    blank = slice(0, padded_inputs.SHORTER) if side == "left" else slice(LEFT, None)
    for name in ("input_ids", "attention_mask", "bbox"):
        assert made[name].shape == base[name].shape
        np.testing.assert_array_equal(made[name][:-1], base[name][:-1])
        np.testing.assert_array_equal(made[name][-1, tokens], short[name][-1])
        assert (made[name][-1, blank] == (99 if name == "input_ids" else 0)).all()
    for name in ("pixel_values", "decoder_input_ids"):
        assert made[name] is base[name]
    # The plain inputs are as they were.
    assert all(np.array_equal(base[name], array) for name, array in text().items())


def test_what_can_be_padded() -> None:
    base = text()
    assert padded_inputs.can_be_padded(base)
    assert padded_inputs.can_be_padded(
        {"inputs_embeds": np.ones((2, 16, 8)), "attention_mask": np.ones((2, 16))}
    )
    assert not padded_inputs.can_be_padded({"input_ids": base["input_ids"]})
    assert not padded_inputs.can_be_padded({"attention_mask": base["attention_mask"]})
    # A mask of something else, of another rank, or of too short a text.
    assert not padded_inputs.can_be_padded({**base, "attention_mask": np.ones((2, 1600))})
    assert not padded_inputs.can_be_padded({**base, "attention_mask": np.ones((2, 16, 16))})
    assert not padded_inputs.can_be_padded({n: a[:, :7] for n, a in base.items()})


# ---- which elements are real


def along(axis: int, shape: tuple[int, ...]) -> Array:
    """Each element's index along an axis."""
    return np.broadcast_to(
        np.arange(shape[axis]).reshape(-1, *[1] * (len(shape) - 1 - axis)), shape
    )


SHAPES = {
    "tokens": ((2, 16, 8), (2, 12, 8), 1, 12),
    "pooled": ((2, 4, 8), (2, 3, 8), 1, 3),
    "later axis": ((2, 3, 16), (2, 3, 12), 2, 12),
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", SHAPES)
def test_what_follows_the_tokens_is_real_where_they_are(name: str, side: Side) -> None:
    full, brief, axis, kept = SHAPES[name]
    base, short = {"y": np.ones(full)}, {"y": np.ones(brief)}
    mask = padded_outputs.real(base, base, short, ROWS, side, LENGTHS)["y"]
    assert mask[:-1].all()
    index = along(axis, full)[-1]
    expected = index >= full[axis] - kept if side == "left" else index < kept
    np.testing.assert_array_equal(mask[-1], expected)


def test_attention_is_real_where_both_tokens_are() -> None:
    base, short = {"y": np.ones((2, 16, 16))}, {"y": np.ones((2, 12, 12))}
    mask = padded_outputs.real(base, base, short, ROWS, "left", LENGTHS)["y"]
    expected = np.zeros((16, 16), dtype=bool)
    expected[4:, 4:] = True
    np.testing.assert_array_equal(mask[-1], expected)


def test_the_rows_of_a_batch_may_stand_in_one_axis() -> None:
    base, short = {"y": np.ones((32, 8))}, {"y": np.ones((24, 8))}
    mask = padded_outputs.real(base, base, short, ROWS, "right", LENGTHS)["y"]
    assert mask[:28].all()
    assert not mask[28:].any()


@pytest.mark.parametrize(
    ("full", "brief", "given"),
    [
        ((2, 16, 8), (2, 12, 8), (2, 15, 8)),  # padding changed the shape
        ((2, 16), (2, 20), (2, 16)),  # a shorter text gave more
        ((31, 8), (23, 8), (31, 8)),  # no whole rows
        ((2, 16, 8), (2, 12), (2, 16, 8)),
    ],
)
def test_where_it_cannot_be_told_nothing_is_real(
    full: tuple[int, ...], brief: tuple[int, ...], given: tuple[int, ...]
) -> None:
    mask = padded_outputs.real(
        {"y": np.ones(given)}, {"y": np.ones(full)}, {"y": np.ones(brief)}, ROWS, "left", LENGTHS
    )
    assert mask["y"].shape == given
    assert not mask["y"].any()


def test_what_does_not_follow_the_tokens_is_real_throughout() -> None:
    same = {"pooled": np.ones((2, 8)), "loss": np.array(1.0), "patches": np.ones((3, 8))}
    mask = padded_outputs.real(same, same, same, ROWS, "left", LENGTHS)
    assert all(m.all() and m.shape == same[n].shape for n, m in mask.items())


# ---- what a padded row must give


def outputs(base: Arrays, short: Arrays, side: Side) -> Arrays:
    """Outputs of a right model on padded inputs, with rubbish on padding."""
    made = base["y"].copy()
    made[-1] = np.nan
    made[-1][slice(padded_inputs.SHORTER, None) if side == "left" else slice(0, LEFT)] = short["y"][
        -1
    ]
    scores = base["scores"].copy()
    scores[1, 1] = short["scores"][1, 1]
    scores[0, 1] = 17.0  # of a row with another one: neither is the last row's own
    return {"y": made, "scores": scores, "scalar": base["scalar"]}


PAIRS = ("scores",)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_real_token(side: Side) -> None:
    random = np.random.default_rng(0)

    def made(length: int) -> Arrays:
        return {
            "y": random.standard_normal((ROWS, length, 8)),
            "scores": random.standard_normal((ROWS, ROWS)),
            "scalar": np.array(1.0),
        }

    base, short = made(LENGTH), made(LEFT)
    right = outputs(base, short, side)
    mask = padded_outputs.real(right, base, short, ROWS, side, LENGTHS)
    assert padded_outputs.violation(right, base, short, mask, ROWS, PAIRS) is None
    assert padded_outputs.finite(right, mask)
    for row in range(ROWS):
        for position in (0, 5, 11, 15):
            wrong = {n: a.copy() for n, a in right.items()}
            wrong["y"][row, position] += 0.01
            found = padded_outputs.violation(wrong, base, short, mask, ROWS, PAIRS)
            assert (found is not None) is bool(mask["y"][row, position, 0])
            assert found is None or found.startswith(
                "expected padding to change no real token; y moved by"
            )
    broken = {**right, "y": np.full_like(right["y"], np.nan)}
    assert not padded_outputs.finite(broken, mask)
    assert "values are not finite" in (
        padded_outputs.violation(broken, base, short, mask, ROWS, PAIRS) or ""
    )
    own = {**right, "scores": right["scores"] + np.eye(ROWS)}
    assert "scores moved by" in (
        padded_outputs.violation(own, base, short, mask, ROWS, PAIRS) or ""
    )


def test_two_labels_of_two_rows_are_no_pairs_of_rows() -> None:
    random = np.random.default_rng(0)
    base, short = ({"logits": random.standard_normal((ROWS, ROWS))} for _ in range(2))
    right = {"logits": np.stack([base["logits"][0], short["logits"][1]])}
    mask = padded_outputs.real(right, base, short, ROWS, "left", LENGTHS)
    assert padded_outputs.violation(right, base, short, mask, ROWS) is None
    for row, label in ((0, 1), (1, 0)):
        wrong = {"logits": right["logits"].copy()}
        wrong["logits"][row, label] += 0.1
        assert padded_outputs.violation(wrong, base, short, mask, ROWS)


def test_a_batch_of_another_size_tells_pairs_of_rows() -> None:
    found = {"scores": np.ones((2, 2)), "labels": np.ones((2, 2)), "y": np.ones((2, 8))}
    other = {"scores": np.ones((3, 3)), "labels": np.ones((3, 2)), "y": np.ones((3, 8))}
    assert padded_outputs.pairs_of_rows(found, other, 2, 3) == ["scores"]
    assert padded_outputs.pairs_of_rows(found, None, 2, 3) == ["scores", "labels"]
    # The medium's rows may be fixed, as CLAP's are here: (media, texts).
    assert padded_outputs.pairs_of_rows(found, {"scores": np.ones((2, 3))}, 2, 3)[0] == "scores"


def test_padding_changes_no_integer() -> None:
    base, short = {"codes": np.zeros((2, 16), dtype=int)}, {"codes": np.ones((2, 12), dtype=int)}
    mask = padded_outputs.real(base, base, short, ROWS, "right", LENGTHS)
    assert padded_outputs.violation(base, base, short, mask, ROWS) == (
        "expected padding to change no integer; 42.9% changed"
    )


def test_selected_leaves_what_has_another_shape_to_the_comparison() -> None:
    made = {"y": np.arange(6).reshape(2, 3), "z": np.arange(4)}
    mask = {"y": np.array([[True, False, True], [False, False, True]]), "z": np.ones(3, dtype=bool)}
    found = padded_outputs.selected(made, mask)
    assert found["y"].tolist() == [0, 2, 5]
    assert found["z"] is made["z"]


# ---- what a mask hides


def heard(size: int, hidden: int, *further: int) -> tuple[Arrays, Arrays]:
    """A whole recording, and one with its end hidden."""
    mask = np.ones((ROWS, size), dtype=np.int64)
    whole = {"input_features": np.ones((ROWS, size, *further)), "input_features_mask": mask}
    less = mask.copy()
    less[:, size - hidden :] = 0
    return whole, {**whole, "input_features_mask": less}


def test_the_far_half_of_what_is_hidden_is_emptied() -> None:
    whole, inputs = heard(16, 6, 3)
    whole["pixel_values"] = inputs["pixel_values"] = np.ones((ROWS, 3, 16, 16))
    found = padded_inputs.emptied(inputs, whole, ROWS, "sound")
    assert found["pixel_values"].all()
    made = found["input_features"]
    assert made[:-1].all()
    assert made[-1, :13].all()
    assert not made[-1, 13:].any()
    assert inputs["input_features"].all()


def test_of_axes_of_one_length_what_lies_far_along_all_is_emptied() -> None:
    whole, inputs = heard(16, 6, 16)
    made = padded_inputs.emptied(inputs, whole, ROWS, "sound")["input_features"][-1]
    assert not made[13:, 13:].any()
    assert made.sum() == 16**2 - 3**2


def test_what_is_hidden_of_an_image_is_emptied_in_all_its_channels() -> None:
    pixels = np.ones((ROWS, 2, 3, 8, 6))
    mask = np.ones((ROWS, 2, 8, 6), dtype=np.bool_)
    less = mask.copy()
    less[:, :, 4:] = False
    whole = {"pixel_values": pixels, "pixel_attention_mask": mask}
    hidden = {**whole, "pixel_attention_mask": less}
    made = padded_inputs.emptied(hidden, whole, ROWS, "image")
    assert made["pixel_values"][-1, :, :, :6].all()
    assert not made["pixel_values"][-1, :, :, 6:].any()


def test_where_nothing_is_hidden_nothing_is_emptied() -> None:
    whole, _ = heard(16, 6, 3)
    assert padded_inputs.emptied(whole, whole, ROWS, "sound")["input_features"].all()
