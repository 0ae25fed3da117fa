"""Sizes on the meta device are the real module's: parameters, bytes of weights and buffers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog import model_lists
from harness.commands import size as command
from harness.contract import Cell, Entry, HarnessError
from harness.models import libraries, model_size
from harness.models.model_size import ModelSize
from harness.models.weight_formats import FORMATS, weight_bytes
from harness.report import words
from harness.toolkit import hardware
from harness.toolkit.hardware import Part

ROOT = Path(__file__).resolve().parent.parent


def entry_of(name: str) -> Entry:
    return model_lists.load(ROOT).entries[name]


def real_module(entry: Entry, head: str, dtype: str) -> Any:
    """The small module with memory, as a session builds it, in a dtype."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    library = libraries.library(entry.library)
    torch.manual_seed(0)
    with torch.no_grad():
        config = library.config(entry.architecture, entry.config, "tiny", head)
        module = library.module(entry.architecture, config, head)
    return module.to(getattr(torch, FORMATS[dtype].dtype))


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("bert", "base"),
        ("gpt2", "text-generation"),  # its head is its embedding
        ("mixtral", "base"),
        ("mamba", "base"),
        ("t5", "base"),
        ("vit", "base"),
        ("whisper", "base"),
        ("resnet", "base"),  # integers among its buffers
    ],
)
def test_meta_sizes_are_those_of_the_module_with_memory(name: str, head: str, dtype: str) -> None:
    entry = entry_of(name)
    module = real_module(entry, head, dtype)
    found = model_size.measure(entry, head, dtype, size="tiny")
    storages = {p.data_ptr(): p.untyped_storage().nbytes() for p in module.parameters()}
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert found.weight_bytes == sum(storages.values())
    assert found.buffer_bytes == sum(b.untyped_storage().nbytes() for b in module.buffers())


def test_a_tied_head_is_counted_once() -> None:
    entry = entry_of("gpt2")
    saved = real_module(entry, "text-generation", "f32").state_dict()
    found = model_size.measure(entry, "text-generation", "f32", size="tiny")
    twice = sum(tensor.numel() for tensor in saved.values())
    assert twice - found.parameters == saved["lm_head.weight"].numel()


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("bf16", (3, 64), 384),
        ("f64", (3, 64), 1536),
        ("int8", (3, 64), 3 * 64 + 3 * 2),
        ("int8", (64,), 128),  # a vector stays
        ("int4", (3, 64), 3 * 32 + 12 * 2),
        ("int4", (3, 10), 15 + 3 * 2),  # no whole groups: one scale a row
        ("mxfp4", (3, 64), 3 * 32 + 6),
        ("f8", (3, 4, 8), 96 + 3 * 2),
        ("int8", (0, 64), 0),
    ],
)
def test_bytes_of_a_format(name: str, shape: tuple[int, ...], expected: int) -> None:
    itemsize = {"f64": 8, "f32": 4}.get(name, 2)
    assert FORMATS[name].bytes_of(shape, itemsize) == expected


def test_whole_numbers_among_parameters_keep_their_bytes() -> None:
    parameter = SimpleNamespace(
        shape=(4, 4), is_floating_point=lambda: False, numel=lambda: 16, element_size=lambda: 1
    )
    module = SimpleNamespace(parameters=lambda: [parameter])
    assert weight_bytes(module, FORMATS["int4"]) == 16


def test_declared_sizes_are_whole_numbers_of_the_entry_and_its_parts() -> None:
    given = {"hidden_size": 8, "flag": True, "rate": 0.1, "text_config": {"layers": 2, "kind": "a"}}
    assert list(model_size.sizes_in(given)) == ["hidden_size", "text_config.layers"]


def test_a_model_that_the_library_refuses_says_why() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    broken = Entry("broken", "encoder-only", "bert", config={"hidden_size": 10})
    with pytest.raises(HarnessError, match=r"expected transformers to build broken .* ValueError"):
        model_size.measure(broken)


SIZE = ModelSize("LlamaModel", "LlamaConfig", (), 6_607_343_616, 13_214_687_232, 512)


def test_what_is_printed() -> None:
    cell = Cell(Entry("llama", "decoder-only", "llama", checkpoint="meta/l"), "size", "bf16")
    parts = [Part("cpu", "C", 16 * 10**9), Part("nvidia-gpu", "G", 10**10)]
    text = "\n".join(command.lines(cell, SIZE, parts))
    assert "defaults of LlamaConfig, the entry declares none; those of meta/l may differ" in text
    assert "6 607 343 616" in text
    assert "fits: cpu C, 16 GB" in text
    assert "does NOT fit: nvidia-gpu G, 10 GB, 1.3 times as much is needed" in text


def test_the_command_answers_in_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(model_size, "measure", lambda *_, **__: SIZE)
    monkeypatch.setattr(hardware, "inventory", lambda: [Part("cpu", "C", 10), Part("soc", "S")])
    assert ask("llama", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["total_bytes"] == SIZE.total_bytes
    assert [(part["name"], part["fits"]) for part in said["machine"]] == [("C", False)]


def test_without_pytorch_it_says_which_environment_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(HarnessError, match=r"\.nox/torch-cpu/bin/python -m harness size llama"):
        ask("llama")


def test_an_absent_library_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(
        model_size, "unmet_requirements", lambda _: "requires nothing, not installed"
    )
    assert ask("llama") == 1
    assert "llama: absent from this environment: requires nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, words.NOTHING),
        (512, "512 B"),
        (16_400, "16.4 kB"),
        (999_999, "1 MB"),
        (357 * 10**9, "357 GB"),
    ],
)
def test_memory_in_words(value: int | None, text: str) -> None:
    assert words.memory(value) == text


def ask(*words_: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(words_))
