"""Long texts: a decoder that goes wrong only beyond a window that its config class declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from function_backend import Runner, cast
from language_backend import LanguageBackend, LanguageCase, language

from harness.catalog import model_lists
from harness.checks import long_text
from harness.contract import Array, Arrays, Generated, Generation, GenerationRequest, LibraryFault
from harness.models import long_texts
from harness.models.case import RESHAPED_LENGTH, TinyCase
from harness.models.long_texts import LongText

LONG = 40


class LongCase(LanguageCase):
    """The decoder with a long text; what it gives there goes through `beyond`.

    Args:
        beyond: from its outputs to those that it gives on the long text.
        usual: from its outputs to those that it gives on every text.
        forgets: how many of the tokens before it its cache forgets in a long text.
        control: inputs that must run first; a text of usual length, if left out.
        only_generated: whether the text shows only what is generated after it.
        forgets_always: how many it forgets in any text.
    """

    def __init__(
        self,
        beyond: Callable[[Arrays], Arrays] = lambda outputs: outputs,
        usual: Callable[[Arrays], Arrays] = lambda outputs: outputs,
        forgets: int = 0,
        control: Arrays | None = None,
        *,
        only_generated: bool = False,
        forgets_always: int = 0,
    ) -> None:
        super().__init__()
        self.function = lambda x, w: usual(
            beyond(language(x, w)) if x["input_ids"].shape[1] >= LONG else language(x, w)
        )
        self.forgets, self.control, self.only_generated = forgets, control, only_generated
        self.forgets_always = forgets_always

    def long_texts(self) -> Iterator[LongText]:
        ids = np.arange(1, LONG + 1)[None] % 7 + 1
        usual, long = (
            {"input_ids": text, "attention_mask": np.ones_like(text)} for text in (ids[:, :8], ids)
        )
        claim = "leave each window that the config class declares"
        yield LongText(claim, long, usual, self.control or usual, self.only_generated)

    def preferred(self, inputs: Arrays) -> Arrays:
        return self.reference(inputs, "float32")

    def with_damaged_cache(self, request: GenerationRequest, damage: str | None) -> Generated:
        ids, steps = request.inputs["input_ids"], list[Array]()
        for _ in range(request.tokens):
            forgets = self.forgets if ids.shape[1] >= LONG else self.forgets_always
            known = ids[:, forgets:]
            given = {"input_ids": known, "attention_mask": np.ones_like(known)}
            steps.append(self.function(given, cast(self.module(), "float32"))["logits"][:, -1])
            ids = np.concatenate([ids, steps[-1].argmax(axis=-1)[:, None]], axis=1)
        return Generated(ids, np.stack(steps, axis=1))


def raises(_: Arrays) -> Arrays:
    raise RuntimeError("The size of tensor a (4097) must match")


def moved(outputs: Arrays) -> Arrays:
    return {name: array * 1.01 for name, array in outputs.items()}


def check(case: LanguageCase, *, generates: bool = False, causal: bool = True) -> None:
    made: Any = case
    long_text.check(made, made.generation if generates else None, causal=causal)


def test_a_right_decoder_passes() -> None:
    check(LongCase())
    check(LongCase(), generates=True)


@pytest.mark.parametrize("generates", [True, False])
def test_a_long_text_that_raises_is_the_librarys_fault(generates: bool) -> None:
    with pytest.raises(LibraryFault, match=r"^long-text: 40 tokens, .*: RuntimeError: The size"):
        check(LongCase(raises), generates=generates)


@pytest.mark.parametrize("generates", [True, False])
def test_first_tokens_that_a_long_text_moves_are_the_librarys_fault(generates: bool) -> None:
    with pytest.raises(LibraryFault, match="first 16 as they are alone, found: logits is off by"):
        check(LongCase(moved), generates=generates)
    check(LongCase(moved), generates=generates, causal=False)  # later tokens may move them


def test_a_cache_that_forgets_a_long_text_is_the_librarys_fault() -> None:
    with pytest.raises(LibraryFault, match="as they are without a cache, found: logits is off by"):
        check(LongCase(forgets=30), generates=True)
    check(LongCase(forgets=30))


@pytest.mark.parametrize("generates", [True, False])
def test_a_model_that_does_not_run_on_one_row_is_left_alone(generates: bool) -> None:
    check(LongCase(usual=raises), generates=generates)


def test_a_head_that_generates_wrongly_after_any_text_is_left_alone() -> None:
    check(LongCase(forgets=30, forgets_always=4), generates=True)


def test_a_model_that_refuses_the_control_is_left_alone() -> None:
    refused = {"input_ids": np.full((1, 3), 1), "attention_mask": np.ones((1, 2), dtype=np.int64)}
    check(LongCase(raises, control=refused))


def test_a_text_for_what_is_generated_after_it_is_read_by_heads_that_generate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Arrays] = []
    case = LongCase(raises, only_generated=True)
    monkeypatch.setattr(case, "preferred", read.append)
    check(case)
    assert not read  # its control neither
    with pytest.raises(LibraryFault, match="RuntimeError: The size"):
        check(LongCase(raises, only_generated=True), generates=True)


def test_a_case_without_a_long_text_is_left_alone() -> None:
    check(LanguageCase())


def test_the_check_is_one_of_sessions_on_the_library_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = LanguageBackend()
    backend.made = LongCase(raises)
    run = Runner(monkeypatch)
    assert "long-text" not in run(backend).reason
    result = run(backend, checks_library=True)
    assert result.reason.startswith("long-text: 40 tokens")
    assert [failure.stage for failure in result.further] == []


# ---- the texts of a small model


def texts(name: str) -> dict[str, LongText]:
    """By the first words of their claims, of the entry's first head."""
    entry = model_lists.load().entries[name]
    case = TinyCase(entry, head=entry.heads[0])
    return {text.claim.split()[0]: text for text in case.long_texts()}


def test_a_text_fills_its_places_with_those_of_an_image_among_them() -> None:
    found = texts("kosmos_2_5")["fill"]
    assert (found.inputs["input_ids"].shape, found.usual["input_ids"].shape) == ((1, 127), (1, 24))
    assert found.control["image_embeds_position_mask"].shape == (1, 133)


def test_the_places_of_an_encoder_decoder_are_those_of_its_decoder() -> None:
    found = texts("m2m_100")["fill"]
    assert found.of_decoder
    assert found.inputs["decoder_input_ids"].shape == (1, 127)
    assert found.inputs["input_ids"].shape == found.usual["input_ids"].shape
    check_of_decoder(found)


def check_of_decoder(text: LongText) -> None:
    """The decoder goes on from all of its text, and not from the first token."""
    asked: list[Arrays] = []

    class Written(LongCase):
        def long_texts(self) -> Iterator[LongText]:
            yield text

        def preferred(self, inputs: Arrays) -> Arrays:
            return {"logits": np.zeros((1, inputs["decoder_input_ids"].shape[1], 8))}

        def with_damaged_cache(self, request: GenerationRequest, damage: str | None) -> Generated:
            ids = request.inputs["decoder_input_ids"]
            asked.append(dict(request.inputs))
            more = np.zeros((1, request.tokens), dtype=ids.dtype)
            logits = np.full((1, request.tokens, 8), float(ids.shape[1] > LONG))
            return Generated(np.concatenate([ids, more], axis=1), logits)

    case: Any = Written()
    with pytest.raises(LibraryFault, match=r"^long-text: 127 tokens, which fill the 128 places"):
        long_text.check(case, Generation("decoder_input_ids"), causal=False)
    assert [given["decoder_input_ids"].shape[1] for given in asked] == [RESHAPED_LENGTH, 127]


# ---- the windows that a config class declares


class Part:
    model_type = "part"

    def __init__(self) -> None:
        self.sliding_window = 4096
        self.max_position_embeddings = 131072


class Whole:
    model_type = "whole"

    def __init__(self) -> None:
        self.chunk_size = 256
        self.text_config = Part()


def small() -> Whole:
    config = Whole()
    config.chunk_size, config.text_config.sliding_window = 8, 8
    return config


def test_the_longest_window_is_that_of_any_part() -> None:
    assert long_texts.longest_declared(small()) == 4096


def test_a_window_that_is_as_declared_is_no_longer_than_the_model_knows() -> None:
    config = small()
    config.text_config.sliding_window = 4096
    assert long_texts.longest_declared(config) == 256


def test_a_window_beyond_the_places_of_a_text_is_none() -> None:
    config = small()
    config.text_config.max_position_embeddings = 600
    assert long_texts.longest_declared(config) == 256
    config.text_config.max_position_embeddings = 128
    assert long_texts.longest_declared(config) == 0


def test_places_are_the_fewest_that_any_part_says() -> None:
    config = small()
    config.text_config.max_position_embeddings = 128
    assert long_texts.places(config) == 128
    assert long_texts.places(SimpleNamespace(max_source_positions=8, sizes=3)) is None


def test_a_class_without_defaults_declares_none() -> None:
    assert long_texts.longest_declared(SimpleNamespace(sliding_window=8)) == 0
