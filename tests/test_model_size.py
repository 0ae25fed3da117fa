"""Sizes on the meta device are the real module's: parameters, bytes of weights and buffers."""

from __future__ import annotations

import argparse
import importlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog import model_lists
from harness.commands import size as command
from harness.contract import Cell, Entry, HarnessError
from harness.models import libraries, model_size
from harness.models.forward_memory import SHORT, ForwardMemory, forward_memory, line
from harness.models.model_size import ModelSize
from harness.models.weight_formats import FORMATS, weight_bytes
from harness.report import words
from harness.toolkit import hardware
from harness.toolkit.hardware import Part


def entry_of(name: str) -> Entry:
    return model_lists.load().entries[name]


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


FORWARD = ["bert", "gpt2", "mixtral", "mamba", "mistral", "gemma2", "t5", "vit", "whisper", "llava"]

#: Two estimates of activations agree where they lie within this share of each other.
AGREE = 0.1


def passes(name: str) -> tuple[ForwardMemory, ForwardMemory]:
    """Memory of a forward pass on the meta device, and with memory and real kernels."""
    entry = entry_of(name)
    module = real_module(entry, "base", "f32").eval()
    config, on_meta = model_size.built(entry, "base", "tiny")
    library = libraries.library(entry.library)
    first, second = (
        forward_memory(library, config, built, "float32", batch=2, length=24)
        for built in (on_meta, module)
    )
    return first, second


@pytest.mark.parametrize("name", FORWARD)
def test_a_pass_on_the_meta_device_has_the_memory_of_a_real_one(name: str) -> None:
    meta, real = passes(name)
    assert meta.inputs == real.inputs
    assert meta.cache_bytes == real.cache_bytes
    assert meta.activation_bytes == pytest.approx(real.activation_bytes, rel=AGREE)


def test_tensors_that_are_never_freed_are_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: without the freed bytes the estimate is far from the real pass."""
    _, real = passes("bert")
    live_memory = importlib.import_module("harness.models.live_memory")
    kept: list[Any] = []
    count = live_memory.LiveMemory._count

    def keeping(memory: Any, tensor: Any) -> None:
        kept.append(tensor)
        count(memory, tensor)

    monkeypatch.setattr(live_memory.LiveMemory, "_count", keeping)
    wrong, _ = passes("bert")
    assert wrong.activation_bytes > (1 + AGREE) * real.activation_bytes


def test_a_cache_has_the_grouped_heads_of_its_config() -> None:
    meta, _ = passes("mixtral")
    config, _ = model_size.built(entry_of("mixtral"), "base", "tiny")
    heads, width = (
        config.num_key_value_heads,
        config.head_dim or (config.hidden_size // config.num_attention_heads),
    )
    assert config.num_key_value_heads < config.num_attention_heads
    assert meta.cache_bytes == 2 * config.num_hidden_layers * 2 * heads * 24 * width * 4


def test_a_loop_over_tokens_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    live_memory = importlib.import_module("harness.models.live_memory")
    entry = entry_of("mamba")
    config, module = model_size.built(entry, "base", "tiny")
    library = libraries.library(entry.library)
    whole = forward_memory(library, config, module, "float32", batch=1, length=200)
    monkeypatch.setattr(live_memory, "OPERATORS", 1000)
    found = forward_memory(library, config, module, "float32", batch=1, length=200)
    assert (whole.extrapolated_from, found.extrapolated_from) == ((), SHORT)
    assert found.inputs == whole.inputs
    assert found.cache_bytes == whole.cache_bytes
    assert found.activation_bytes == pytest.approx(whole.activation_bytes, rel=AGREE)


def test_no_more_tokens_are_run_than_there_are_positions() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    entry = entry_of("gpt2")
    config, module = model_size.built(entry, "base", "tiny")
    library = libraries.library(entry.library)
    found = forward_memory(library, config, module, "float32", batch=1, length=10**6)
    assert found.length == config.n_positions
    assert found.inputs["input_ids"] == (1, config.n_positions)


def test_large_results_without_a_model_take_no_memory() -> None:
    torch = pytest.importorskip("torch")
    live_memory = importlib.import_module("harness.models.live_memory")
    with live_memory.watched(torch.nn.Linear(2, 2, device="meta")) as memory:
        mask = torch.ones(10**7, 10**6, dtype=torch.bool)  # 10 TB
        small = torch.arange(4)
    assert (mask.is_meta, small.tolist()) == (True, [0, 1, 2, 3])
    assert memory.peak == 10**13 + 32


def test_weights_are_in_their_dtype_where_the_pass_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")

    def fail(*_: Any, **__: Any) -> None:
        raise LookupError("no inputs")

    entry = entry_of("bert")
    right = model_size.measure(entry, size="tiny")
    monkeypatch.setattr(model_size, "forward_memory", fail)
    found = model_size.measure(entry, size="tiny")
    assert found.unknown == "LookupError: no inputs"
    assert (found.forward, found.weight_bytes) == (None, right.weight_bytes)


def test_a_line_through_two_lengths() -> None:
    short, longer = SHORT
    assert line([10 * short + 3, 10 * longer + 3], 4096) == 40963
    assert line([7, 7], 4096) == 7


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


PASS = ForwardMemory({"input_ids": (1, 2048)}, 10**9, 2 * 10**8, 2048)
SIZE = ModelSize("LlamaModel", "LlamaConfig", (), 6_607_343_616, 13_214_687_232, 512, PASS)


def test_what_is_printed() -> None:
    cell = Cell(Entry("llama", "decoder-only", "llama", checkpoint="meta/l"), "size", "bf16")
    parts = [Part("cpu", "C", 16 * 10**9), Part("nvidia-gpu", "G", 10**10)]
    text = "\n".join(command.lines(cell, SIZE, parts, 4096))
    assert "defaults of LlamaConfig, the entry declares none; those of meta/l may differ" in text
    assert "6 607 343 616" in text
    assert "fits: cpu C, 16 GB" in text
    assert "inputs: input_ids 1x2048\nlength 2048, not 4096" in text
    assert "1 GB" in text
    assert "does NOT fit: nvidia-gpu G, 10 GB, 1.4 times as much is needed" in text


def test_an_unknown_pass_is_not_in_the_sum() -> None:
    unknown = replace(SIZE, forward=None, unknown="ValueError: a\nb")
    cell = Cell(Entry("llama", "decoder-only", "llama"), "size", "bf16")
    text = "\n".join(command.lines(cell, unknown, [Part("cpu", "C", 10**9)], 4096))
    assert "cache and activations unknown, and not in the sum: ValueError: a" in text
    assert text.endswith("13.2 times as much is needed, of parameters and buffers alone")
    assert unknown.total_bytes == SIZE.weight_bytes + SIZE.buffer_bytes


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
