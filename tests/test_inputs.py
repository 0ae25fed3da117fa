"""Example inputs follow from a model's signature, its config and the seed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from harness import inputs
from harness.contract import HIDDEN, SHORT, Arrays, Entry
from harness.inputs import ARGUMENTS, example_inputs
from harness.inputs.recipe import RECIPES
from harness.inputs.wanted import USUAL
from harness.models.case import TinyCase


class Config:
    """As much of a config as inputs ask for."""

    model_type = "plain"

    def __init__(self, **fields: Any) -> None:
        vars(self).update({"vocab_size": 32, "hidden_size": 8, **fields})

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


class Module:
    """A model without weights: its signature is what counts."""

    main_input_name = "input_ids"

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def named_modules(self) -> list[tuple[str, Any]]:
        return [("", self)]

    def modules(self) -> list[Any]:
        return [self]


def text(input_ids: Any, attention_mask: Any = None, labels: Any = None) -> None:
    """A text model's signature."""


def made(
    forward: Callable[..., Any], config: Any = None, *, seed: int = 0, **options: Any
) -> Arrays:
    return example_inputs(Module(forward), config or Config(), seed=seed, **options)


# ---- which arguments


def test_a_model_gets_what_it_requires_and_what_is_usual() -> None:
    assert list(made(text)) == ["input_ids", "attention_mask"]


def test_arguments_stand_in_the_order_of_the_signature() -> None:
    def forward(
        attention_mask: Any = None, pixel_values: Any = None, input_ids: Any = None
    ) -> None:
        pass

    assert list(made(forward)) == ["attention_mask", "pixel_values", "input_ids"]


def test_the_main_input_is_made_although_it_is_optional() -> None:
    def forward(past_values: Any = None, labels: Any = None) -> None:
        pass

    module = Module(forward)
    module.main_input_name = "past_values"
    found = example_inputs(module, Config(), seed=0)
    assert list(found) == ["past_values"]


def test_arguments_behind_a_star_are_no_arguments() -> None:
    def forward(input_ids: Any, *args: Any, **kwargs: Any) -> None:
        pass

    assert list(made(forward)) == ["input_ids"]


def test_a_required_argument_that_nobody_knows() -> None:
    def forward(input_ids: Any, warp_core: Any) -> None:
        pass

    with pytest.raises(LookupError, match=r"Module\.forward requires 'warp_core'.*row for 'plain'"):
        made(forward)


def test_what_is_usual_can_be_made() -> None:
    assert set(USUAL) <= ARGUMENTS.keys()


# ---- values


def test_shapes_are_those_that_were_asked_for() -> None:
    assert {name: array.shape for name, array in made(text).items()} == {
        "input_ids": (2, 16),
        "attention_mask": (2, 16),
    }
    assert made(text, batch=3, length=22)["input_ids"].shape == (3, 22)


def test_ids_are_of_the_vocabulary_and_none_is_special() -> None:
    inner = Config(vocab_size=24, image_token_id=9, pad_token_id=0, eos_token_ids=[3, 4])
    config = Config(vocab_size=24, text_config=inner, bos_token_id=1)
    ids = made(text, config, batch=20, length=50)["input_ids"]
    assert ids.dtype == np.int64
    assert set(np.unique(ids)) == set(range(24)) - {9, 0, 1, 3, 4}


def test_a_text_ends_with_the_token_for_it() -> None:
    ids = made(text, Config(eos_token_id=5))["input_ids"]
    assert (ids[:, -1] == 5).all()
    assert not (ids[:, :-1] == 5).any()


def test_a_vocabulary_of_special_tokens_only_still_has_tokens() -> None:
    config = Config(vocab_size=2, bos_token_id=0, pad_token_id=1)
    assert set(np.unique(made(text, config)["input_ids"])) <= {0, 1}


def test_the_mask_covers_the_text() -> None:
    mask = made(text, length=7)["attention_mask"]
    assert mask.shape == (2, 7)
    assert (mask == 1).all()


def test_the_states_of_an_encoder_have_a_mask_where_a_decoder_reads_them() -> None:
    def decoder(
        input_ids: Any, encoder_hidden_states: Any = None, encoder_attention_mask: Any = None
    ) -> None: ...

    crossing = Config(add_cross_attention=True)
    plain = made(decoder, crossing)
    assert plain["encoder_hidden_states"].shape == (2, 8, 8)
    assert "encoder_attention_mask" not in plain
    short = made(decoder, crossing, variant=f"{SHORT}condition")
    assert short["encoder_hidden_states"].shape == (2, 5, 8)
    assert short["encoder_attention_mask"].all()
    hidden = made(decoder, crossing, variant=f"{HIDDEN}condition")
    assert hidden["encoder_attention_mask"].tolist() == [[1] * 5 + [0] * 3] * 2
    assert list(made(decoder, variant=f"{HIDDEN}condition")) == ["input_ids"]


def test_values_follow_from_seed_and_variant() -> None:
    first = made(text)
    np.testing.assert_array_equal(first["input_ids"], made(text)["input_ids"])
    for other in (made(text, seed=1), made(text, variant="other")):
        assert other["input_ids"].shape == first["input_ids"].shape
        assert not np.array_equal(other["input_ids"], first["input_ids"])


def test_floats_have_mean_zero_and_deviation_one() -> None:
    def forward(pixel_values: Any) -> None:
        pass

    config = Config(image_size=64, num_channels=3)
    pixels = made(forward, config)["pixel_values"]
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.dtype == np.float32
    assert abs(float(pixels.mean())) < 0.05
    assert float(pixels.std()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("size", "shape"),
    [(32, (32, 32)), ([48, 32], (48, 32)), ({"height": 16, "width": 24}, (16, 24))],
    ids=["number", "pair", "named"],
)
def test_images_have_the_size_of_the_vision_config(size: Any, shape: tuple[int, int]) -> None:
    def forward(pixel_values: Any) -> None:
        pass

    config = Config(image_size=224, vision_config=Config(image_size=size, num_channels=1))
    assert made(forward, config)["pixel_values"].shape == (2, 1, *shape)


def test_boxes_have_their_corners_in_order() -> None:
    def forward(input_ids: Any, bbox: Any = None) -> None:
        pass

    boxes = made(forward)["bbox"]
    assert boxes.shape == (2, 16, 4)
    assert (boxes[..., :2] <= boxes[..., 2:]).all()


# ---- recipes


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the plain model a recipe."""

    def give(**fields: Any) -> None:
        table = {"plain": inputs.Recipe(**fields)}
        monkeypatch.setattr("harness.inputs.recipe.recipes", lambda: table)

    return give


def test_a_recipe_adds_drops_and_sets(recipe: Callable[..., None]) -> None:
    recipe(
        add=("labels",),
        drop=("attention_mask",),
        ids={"labels": (2, 5)},
        shapes={"scores": (2, 3)},
        values={"size": [[4, 4]], "ratio": [0.5]},
    )

    def forward(
        input_ids: Any, scores: Any, size: Any, ratio: Any, attention_mask: Any = None,
        labels: Any = None,
    ) -> None:  # fmt: skip
        pass

    found = made(forward)
    assert list(found) == ["input_ids", "scores", "size", "ratio", "labels"]
    assert found["scores"].shape == (2, 3)
    assert found["scores"].dtype == found["ratio"].dtype == np.float32
    assert found["labels"].shape == (2, 5)
    assert found["labels"].dtype == np.int64
    assert found["size"].tolist() == [[4, 4]]


def test_a_recipes_sizes_follow_the_config(recipe: Callable[..., None]) -> None:
    """At the published widths a number of the small model would be wrong."""
    recipe(
        shapes={"inputs_embeds": (2, 3, "part.width")},
        add=("inputs_embeds",),
        options={"image_tokens": "2 * queries"},
    )

    def forward(input_ids: Any, pixel_values: Any, inputs_embeds: Any = None) -> None:
        pass

    for width, queries in ((8, 3), (768, 5)):
        config = Config(
            part=Config(width=width),
            queries=queries,
            image_token_id=7,
            image_size=8,
            num_channels=3,
        )
        found = made(forward, config)
        assert found["inputs_embeds"].shape == (2, 3, width)
        assert (found["input_ids"] == 7).sum(axis=1).tolist() == [2 * queries] * 2


@pytest.mark.parametrize("said", ["widht", "part.widht", "part", "two * width", "width *"])
def test_a_recipes_size_that_names_no_field(recipe: Callable[..., None], said: str) -> None:
    recipe(shapes={"inputs_embeds": (2, said)}, add=("inputs_embeds",))

    def forward(input_ids: Any, inputs_embeds: Any = None) -> None:
        pass

    config = Config(width=8, part=Config(width=8))
    with pytest.raises(LookupError, match=f"found '{re.escape(said)}' .+ row for 'plain' in"):
        made(forward, config)


def test_a_recipe_sets_batch_and_length(recipe: Callable[..., None]) -> None:
    recipe(batch=1, length=24)
    assert made(text)["input_ids"].shape == (1, 24)
    recipe(batch=1, length=9)  # the least: a longer text that is asked for stays
    assert made(text)["input_ids"].shape == (1, 16)


def test_a_recipe_makes_an_image_smaller_that_still_varies(recipe: Callable[..., None]) -> None:
    def forward(pixel_values: Any) -> None:
        pass

    config = Config(image_size=64, num_channels=3)
    assert made(forward, config)["pixel_values"].shape == (2, 3, 64, 64)
    recipe(options={"side": 32})
    assert made(forward, config)["pixel_values"].shape == (2, 3, 32, 32)
    odd = made(forward, config, variant="odd-size")["pixel_values"]
    assert 32 not in odd.shape[2:]


def test_a_recipe_names_ids_that_no_config_knows(recipe: Callable[..., None]) -> None:
    recipe(special=(5, 6))
    ids = made(text, batch=20, length=50)["input_ids"]
    assert set(np.unique(ids)) == set(range(32)) - {5, 6}


def test_tokens_of_a_table_have_columns_and_rows() -> None:
    def forward(input_ids: Any, token_type_ids: Any) -> None:
        pass

    types = made(forward, Config(type_vocab_sizes=[3, 256, 2]))["token_type_ids"]
    assert types.shape == (2, 16, 3)
    assert (types[:, :4] == 0).all()
    assert types[:, 4:].min(axis=(0, 1)).tolist() == [1, 1, 1]
    assert types[:, 4:].max(axis=(0, 1)).tolist() == [2, 3, 1]
    assert types.flags.c_contiguous
    assert made(forward)["token_type_ids"].shape == (2, 16)


def test_a_recipe_concerns_one_model_type(recipe: Callable[..., None]) -> None:
    recipe(batch=1)
    assert made(text, Config(model_type="another"))["input_ids"].shape == (2, 16)


def test_every_table_of_recipes_is_read() -> None:
    tables = tomllib.loads(RECIPES.read_text(encoding="utf-8"))
    assert inputs.recipes().keys() == tables.keys()
    for name, row in tables.items():
        found = inputs.recipes()[name]
        for key, value in row.items():
            read = getattr(found, key)
            plain = {k: list(v) for k, v in read.items()} if key in {"shapes", "ids"} else read
            assert (list(plain) if key in {"add", "drop", "special"} else plain) == value, (
                f"{name}: {key}"
            )


# ---- real models


@cache
def case(architecture: str, family: str = "multimodal") -> TinyCase:
    return TinyCase(Entry(architecture, family, architecture))


@pytest.mark.parametrize(
    ("architecture", "token", "media"),
    [
        ("llava", "image_token_id", "pixel_values"),
        ("qwen2_vl", "image_token_id", "pixel_values"),
        ("qwen2_audio", "audio_token_id", "input_features"),
    ],
)
def test_the_text_has_a_placeholder_for_each_feature(
    architecture: str, token: str, media: str
) -> None:
    made_case = case(architecture)
    found = made_case.inputs()
    ids = found["input_ids"]
    assert media in found
    each = (ids == getattr(made_case.config(), token)).sum(axis=1)
    assert (each == each[0]).all()
    assert each[0] > 0
    # The model itself refuses any other number of them.
    made_case.reference(found, "float32")
    ids = ids.copy()
    ids[:, np.argmax(ids[0] == getattr(made_case.config(), token))] = ids[0, 0]
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        made_case.reference({**found, "input_ids": ids}, "float32")


def test_an_image_model_is_fed_an_image_and_a_sound_model_a_sound() -> None:
    pixels = case("vit", "vision").inputs()
    assert {name: array.ndim for name, array in pixels.items()} == {"pixel_values": 4}
    sound = case("wav2vec2", "speech").inputs()
    assert sound["input_values"].shape[0] == 2
    assert sound["input_values"].shape[1] >= 1600


def test_a_decoder_has_a_text_of_its_own() -> None:
    found = case("t5", "encoder-decoder").inputs()
    assert found["input_ids"].shape == (2, 16)
    assert found["decoder_input_ids"].shape == (2, 8)


def test_the_second_shape_has_another_batch_and_length() -> None:
    found = case("t5", "encoder-decoder").inputs("reshaped")
    assert found["input_ids"].shape == (3, 22)
    assert found["decoder_input_ids"].shape == (3, 11)
