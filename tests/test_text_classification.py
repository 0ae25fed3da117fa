"""Classifiers of texts: the token that each kind reads, and padding on either side of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.checks import variants
from harness.contract import BASE, Arrays, Entry, HarnessError
from harness.inputs import ungiven
from harness.models import head_config, pipelines
from harness.models.case import TinyCase
from harness.toolkit import padded_inputs, padding_exemptions

HEAD = "text-classification"


def case_of(architecture: str, family: str, head: str = HEAD, **config: Any) -> TinyCase:
    return TinyCase(Entry("mine", family, architecture, task=HEAD, config=config), head=head)


def fault(case: TinyCase) -> str:
    """The verdict of the reference on padded rows; empty where padding changes no real token."""
    base = case.inputs()
    found = variants.of(case, base, case.reference(base), "float64")
    assert {*padded_inputs.SIDES} <= {variant.name for variant in found.made}, found.left_out
    return str(found.padding_fault or "")


class Pooled(torch.nn.Module):
    """A classifier of Llama that reads the token which `reads` says."""

    def __init__(self, model: Any, reads: str) -> None:
        super().__init__()
        self.whole, self.reads = model, reads

    def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> dict[str, Any]:
        hidden = self.whole.model(input_ids, attention_mask=attention_mask, use_cache=False)
        padding = input_ids == self.whole.config.pad_token_id
        places = torch.arange(input_ids.shape[1])
        last = {
            "last real": (places * ~padding).argmax(-1),
            "last": torch.full((len(input_ids),), -1),
            "counted from the left": attention_mask.sum(-1) - 1,
        }[self.reads]
        logits = self.whole.score(hidden.last_hidden_state)
        return {"logits": logits[torch.arange(len(input_ids)), last]}


# ---- decoders, which look for the last token that is no padding


@pytest.mark.parametrize(
    ("reads", "sides"),
    [("last real", []), ("last", ["right"]), ("counted from the left", ["left"])],
)
def test_a_decoder_that_reads_a_padded_token_is_caught(reads: str, sides: list[str]) -> None:
    case = case_of("llama", "decoder-only")
    said = fault(case.wrapped(Pooled(case.module(), reads)))
    assert [side for side in ("left", "right") if f"'{side}-padded'" in said] == sides, said


def test_the_librarys_own_decoder_reads_the_last_real_token() -> None:
    assert fault(case_of("llama", "decoder-only")) == ""


@pytest.mark.parametrize("size", ["tiny", "wide", "full"])
def test_a_padding_id_is_given_where_the_config_has_none(size: str) -> None:
    config = TinyCase(case_of("llama", "decoder-only").entry, head=HEAD, size=size).config()
    assert config.pad_token_id == config.vocab_size - 1
    assert TinyCase(case_of("llama", "decoder-only").entry, size=size).config().pad_token_id is None


def test_no_example_holds_the_padding_id_but_as_padding() -> None:
    case = case_of("gpt2", "decoder-only")
    token = case.config().pad_token_id
    assert case.padding() == token
    assert all((case.inputs(name)["input_ids"] != token).all() for name in (BASE, "reshaped"))
    for inputs in padded_inputs.padded_batches(case, case.inputs()).values():
        assert ((inputs["input_ids"] == token) == (inputs["attention_mask"] == 0)).all()


@pytest.mark.parametrize("ends", [3, [2, 3]])
def test_a_padding_id_that_ends_texts_is_replaced(ends: int | list[int]) -> None:
    config = SimpleNamespace(vocab_size=8, pad_token_id=3, eos_token_id=ends, bos_token_id=7)
    head_config.complete(config, HEAD)
    assert config.pad_token_id == 6  # 7 begins texts


def test_a_padding_id_of_its_own_stays_and_other_heads_ask_for_none() -> None:
    own = SimpleNamespace(vocab_size=8, pad_token_id=0, eos_token_id=3)
    head_config.complete(own, HEAD)
    without = SimpleNamespace(vocab_size=8, pad_token_id=None, eos_token_id=3)
    head_config.complete(without, "token-classification")
    assert (own.pad_token_id, without.pad_token_id) == (0, None)


def test_a_composite_and_its_text_get_the_same_padding_id() -> None:
    text = SimpleNamespace(vocab_size=8, pad_token_id=None, eos_token_id=3)
    whole = SimpleNamespace(get_text_config=lambda: text, pad_token_id=None)
    head_config.complete(whole, HEAD)
    assert whole.pad_token_id == text.pad_token_id == 7


# ---- encoder-decoders, which read the end of the text that they give to their decoder


@pytest.mark.parametrize("architecture", ["bart", "t5"])
def test_the_class_makes_the_decoders_text_and_reads_the_one_end_of_each_row(
    architecture: str,
) -> None:
    case = case_of(architecture, "encoder-decoder")
    given: dict[str, Arrays] = {n: case.inputs(n) for n in (BASE, "reshaped", "processed")}
    given |= padded_inputs.padded_batches(case, case.inputs())
    for inputs in given.values():
        assert not {"decoder_input_ids", "decoder_attention_mask"} & inputs.keys()
        ends = inputs["input_ids"] == case.config().eos_token_id
        real = inputs["attention_mask"] == 1
        last = real.shape[1] - 1 - real[:, ::-1].argmax(axis=1)
        assert (ends.sum(axis=1) == 1).all()
        assert (ends.argmax(axis=1) == last).all()
    assert fault(case) == ""
    assert "decoder_input_ids" in case_of(architecture, "encoder-decoder", BASE).inputs()


def test_the_decoders_text_begins_as_the_config_says_or_with_padding() -> None:
    starts = {"bart": 2, "t5": 0}
    for architecture, start in starts.items():
        config = case_of(architecture, "encoder-decoder").config()
        assert config.decoder_start_token_id == start


# ---- encoders, whose tokenizers pad on the right


def test_an_encoder_is_judged_where_its_tokenizer_pads() -> None:
    assert fault(case_of("roberta", "encoder-only")) == ""
    exempt = padding_exemptions.exemptions_of(case_of("roberta", "encoder-only"))
    assert exempt["left-padded"].covers("logits")
    assert "right-padded" not in exempt
    plain = padding_exemptions.exemptions_of(case_of("roberta", "encoder-only", BASE))
    assert not plain["left-padded"].covers("last_hidden_state")


def test_without_its_exemption_the_first_token_of_an_encoder_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(padding_exemptions, "exemptions", dict)
    assert "'left-padded'" in fault(case_of("distilbert", "encoder-only"))


def test_a_class_has_rows_of_its_own_for_its_arguments() -> None:
    for head, given in ((BASE, True), (HEAD, False)):
        case = case_of("longformer", "encoder-only", head)
        names = {each.name for each in case.ungiven(case.reference(case.inputs()))}
        assert ("global_attention_mask" in names) is given
    assert not ungiven.reason("longformer", "global_attention_mask")


def test_an_exemption_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    table = tmp_path / "padding_exemptions.toml"
    table.write_text('[[exemption]]\nvariants = ["left-padded"]\nreason = "1"\n')
    monkeypatch.setattr(padding_exemptions, "__file__", str(table.with_suffix(".py")))
    with pytest.raises(HarnessError, match="expected `architectures` or `families`"):
        padding_exemptions.exemptions.__wrapped__()


@pytest.mark.parametrize("seed", range(5))
def test_a_pipelines_text_ends_as_the_example_does(seed: int) -> None:
    """With the </s> that BART's classifier reads, which its tokenizer would put there."""
    inputs = {"input_ids": np.array([[5, 7, 9, 2], [7, 5, 9, 2]])}
    case = pipelines.pipeline_case("bart", "text-classification", inputs, seed)
    assert case is not None
    encoded = case.components["tokenizer"](case.raw)["input_ids"]
    assert len(encoded) == 4
    assert encoded[-1] == 2
