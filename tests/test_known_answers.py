"""Known-answer tests: what is asked of real weights, and which outputs are refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.catalog import model_lists
from harness.catalog.exemptions import exemptions
from harness.cell import reference
from harness.cell.progress import CellProgress
from harness.checks.known_answers import answer, of_cell, speech, text
from harness.checks.known_answers.rows import rows
from harness.contract import (
    KNOWN_ANSWER,
    Arrays,
    CellResult,
    CheckFailed,
    Outcome,
    Stage,
)
from harness.models.case import TinyCase

ENTRIES = model_lists.load().entries
WORDS = (
    "monday tuesday wednesday thursday friday , . a man is playing guitar in the street somebody "
    "makes music outdoors bank has raised its interest rates"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PLAIN: Arrays = {
    name: np.ones((2, 16), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
}


def tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *words])}
    made = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture
def words() -> PreTrainedTokenizerFast:
    return tokenizer(WORDS.split())


def logits(ids: np.ndarray[Any, Any], place: int, token: int) -> Arrays:
    scores = np.zeros((*ids.shape, 64))
    scores[:, place, token] = 1.0
    scores[:, place, 50:60] = 0.5  # more words than count
    return {"logits": scores}


# ---- text


@pytest.mark.parametrize(
    ("ask", "task", "place", "right", "wrong"),
    [
        (text.masked_word, "fill-mask", 5, "wednesday", "monday"),
        (text.next_word, "text-generation", 8, "friday", "monday"),
    ],
)
def test_a_word_is_read_at_its_place(
    words: PreTrainedTokenizerFast, ask: Any, task: str, place: int, right: str, wrong: str
) -> None:
    known = ask(rows()[task], PLAIN, words)
    ids = known.inputs["input_ids"]
    assert (set(known.inputs), ids.dtype, len(ids)) == (set(PLAIN), np.int64, answer.ROWS)
    known.check(logits(ids, place, words.convert_tokens_to_ids(right)))
    for other in ((place, wrong), (place - 1, right)):
        with pytest.raises(CheckFailed, match=f"expected '{right}' among 5 words for .* Fix: "):
            known.check(logits(ids, other[0], words.convert_tokens_to_ids(other[1])))


def test_sentences_are_held_in_their_order(words: PreTrainedTokenizerFast) -> None:
    known = text.similarity(rows()["feature-extraction"], PLAIN, words)
    assert known is not None
    mask = known.inputs["attention_mask"]
    assert len(set(mask.sum(1))) > 1, "sentences of several lengths, padded"
    states = np.zeros((*mask.shape, 2))
    states[:2, :, 0], states[2, :, 1] = 1.0, 1.0
    states[mask == 0] = (0.0, 9.0)  # what padding holds does not count
    known.check({"last_hidden_state": states})
    with pytest.raises(CheckFailed, match=r"found cosines of 0\.000 and 1\.000"):
        known.check({"last_hidden_state": states[[2, 0, 1]] * 0 + states[[0, 2, 1]][:, :1]})


@pytest.mark.parametrize("ask", [text.masked_word, text.next_word])
def test_a_tokenizer_that_does_not_know_the_words_is_asked_nothing(ask: Any) -> None:
    for known in (["m", "o"], []):
        for task in ("fill-mask", "text-generation"):
            assert ask(rows()[task], PLAIN, tokenizer(known)) is None


def test_a_model_with_other_arguments_is_asked_nothing(words: PreTrainedTokenizerFast) -> None:
    for base in ({**PLAIN, "bbox": np.zeros((2, 16, 4))}, {"pixel_values": np.zeros((2, 3, 8, 8))}):
        assert text.masked_word(rows()["fill-mask"], base, words) is None


# ---- speech


def test_the_recording_has_sound_in_it() -> None:
    path = Path(speech.__file__).with_name(rows()["automatic-speech-recognition"].sound)
    sound = speech.recording(path, 16_000)
    assert sound.dtype == np.float32
    assert 16_000 < len(sound) < 64_000
    assert 0.5 < np.abs(sound).max() <= 1.0
    assert len(speech.recording(path, 8_000)) == len(sound) // 2


@pytest.mark.parametrize(
    ("heard", "count"),
    [("One, two, three, four.", 4), ("1 2 3 4", 4), ("two one four", 2), ("won too", 0), ("", 0)],
)
def test_words_count_in_their_order(heard: str, count: int) -> None:
    row = rows()["automatic-speech-recognition"]
    assert speech.words_in_order(heard, row.expected) == count


class Extractor:
    sampling_rate = 16_000

    def __call__(self, sounds: list[Any], **_: Any) -> Arrays:
        return {"input_features": np.zeros((len(sounds), 80, 30), np.float32)}


class Listener:
    """A model that writes token 7, 8, 9 after the first."""

    generation_config = SimpleNamespace(decoder_start_token_id=5)

    def generate(self, **_: Any) -> torch.Tensor:
        return torch.tensor([[7, 8, 9], [7, 8, 9]])


@pytest.mark.parametrize("decodes", [True, False])
def test_a_transcript_is_read_from_a_decoder_or_from_frames(decodes: bool) -> None:
    base: Arrays = {"input_features": np.zeros((2, 80, 128), np.float32)}
    base |= {"decoder_input_ids": np.zeros((2, 8), np.int64)} if decodes else {}
    case: Any = SimpleNamespace(inputs=lambda: base, module=Listener)
    said = {7: "one", 8: "two", 9: "three", 0: ""}
    reader: Any = SimpleNamespace(decode=lambda ids, **_: " ".join(said[i] for i in ids))
    row = rows()["automatic-speech-recognition"]
    known = speech.transcript(row, case, reader, Extractor())
    assert known is not None
    if decodes:
        assert known.inputs["decoder_input_ids"].tolist() == [[5, 7, 8]] * 2
    scores = np.eye(10)[[[7, 8, 9]] * 2]
    known.check({"logits": scores})
    with pytest.raises(CheckFailed, match=r"recording counting\.wav, found 'two one three'"):
        known.check({"logits": scores[:, [1, 0, 2]]})


# ---- cells


def answered(right: bool, _: Any) -> tuple[str, bool]:
    return "y", right


@pytest.fixture
def bert(tmp_path: Path, words: PreTrainedTokenizerFast) -> TinyCase:
    """A small BERT that says `wednesday` everywhere, with its tokenizer, as a checkpoint."""
    entry = replace(ENTRIES["bert"], checkpoint="x/bert", config={})
    made = TinyCase(entry, head="fill-mask")
    module = made.module()
    with torch.no_grad():
        module.cls.predictions.bias[words.convert_tokens_to_ids("wednesday")] = 100.0
    module.save_pretrained(tmp_path / "x" / "bert")
    words.save_pretrained(tmp_path / "x" / "bert")
    return TinyCase(entry, head="fill-mask", checkpoints=tmp_path)


def test_a_checkpoint_is_asked_with_its_own_tokenizer(bert: TinyCase, tmp_path: Path) -> None:
    folder = tmp_path / "x" / "bert"
    known = of_cell.known_answer(bert, folder)
    assert known is not None
    known.check(bert.reference(known.inputs, "float32"))
    bert.head = "base"  # the head's question is not the headless model's
    assert of_cell.known_answer(bert, folder) is None
    bert.head, bert.entry = "fill-mask", replace(bert.entry, architecture="camembert")
    assert of_cell.known_answer(bert, folder) is None, "an exempt architecture"


def test_a_wrong_answer_of_the_reference_is_kept_and_not_asked_of_the_backend() -> None:
    for right in (True, False):
        result = CellResult("e", "f", "a", "base", "default", Stage.REFERENCE, Outcome.PASS)
        progress = CellProgress(result, lambda *_: None, Stage.REFERENCE)
        known = answer.KnownAnswer("q", "x", {}, partial(answered, right))
        kept = reference._answered(known, {}, progress)
        assert kept is (known if right else None)
        assert result.outcome is (Outcome.PASS if right else Outcome.UNTESTED)
        assert [(m.name, m.value) for m in result.metrics] == [(KNOWN_ANSWER, float(right))]


def test_exempt_architectures_are_of_the_lists() -> None:
    exempt = {name for name, checks in exemptions().items() if answer.NAME in checks}
    assert exempt
    assert {name.partition(":")[0] for name in exempt} <= {
        entry.architecture for entry in ENTRIES.values()
    }
