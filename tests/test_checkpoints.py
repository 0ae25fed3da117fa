"""Real weights: found by name or in the hub's cache, of the right architecture, all of them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.catalog import checkpoints, model_lists
from harness.contract import BASE, Absent, CheckFailed, Entry, HarnessError
from harness.models.case import TinyCase

NAME = "someone/a-model"
ENTRIES = model_lists.load().entries
Tensors = dict[str, Any]


def entry(name: str) -> Entry:
    return replace(ENTRIES[name], checkpoint=NAME)


def loaded(folder: Path, name: str = "bert", head: str = BASE) -> Any:
    return TinyCase(entry(name), checkpoints=folder, head=head).module()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Saves a small model of an entry with a head, once; its folder."""
    root = tmp_path_factory.mktemp("saved")

    def save(name: str, head: str = BASE) -> Path:
        folder = root / name / head
        if not folder.is_dir():
            TinyCase(entry(name), seed=7, head=head).save(folder / NAME)
        return folder

    return save


@pytest.fixture
def bert(saved: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with a checkpoint of the headless BERT, to be spoilt."""
    return Path(shutil.copytree(saved("bert"), tmp_path / "checkpoints"))


def edit(
    folder: Path, change: Callable[[Tensors], object], file: str = "model.safetensors"
) -> None:
    path = folder / NAME / file
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def set_config(folder: Path, **values: Any) -> None:
    path = folder / NAME / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **values}
    kept = {name: value for name, value in config.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


# ---- where they are


def test_the_cache_of_the_hub_is_read(bert: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "cache", tmp_path / "home" / "hub"):
        repository = folder / "models--someone--a-model"
        shutil.copytree(bert / NAME, repository / "snapshots" / "abc123")
        assert checkpoints.find(folder, NAME) == repository / "snapshots" / "abc123"
        shutil.copytree(bert / NAME, repository / "snapshots" / "def456")
        with pytest.raises(HarnessError, match=r"2 snapshots \(abc123, def456\)"):
            checkpoints.find(folder, NAME)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("def456", encoding="utf-8")
        assert checkpoints.find(folder, NAME) == repository / "snapshots" / "def456"
    assert type(loaded(tmp_path / "home")).__name__ == "BertModel"


@pytest.mark.parametrize("revision", ["../../outside", "/etc", "", "..", "a\0b"])
def test_a_reference_leads_nowhere_else(tmp_path: Path, revision: str) -> None:
    reference = tmp_path / "models--someone--a-model" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(revision, encoding="utf-8")
    with pytest.raises(HarnessError, match=r"expected .*main to hold the name of a snapshot"):
        checkpoints.find(tmp_path, NAME)


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/..", "a/../../b", "/etc/passwd", "a/b/c", "~/x", ".", "a b/c", "a/b\n"],
)
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="ORGANISATION/NAME"):
        checkpoints.find(tmp_path, name)


def test_every_entry_has_a_name_of_a_repository() -> None:
    names = [entry.checkpoint for entry in ENTRIES.values() if entry.checkpoint]
    assert [name for name in names if not checkpoints.NAME.fullmatch(name)] == []


def test_a_folder_without_any_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"found nothing in .* Fix: "):
        checkpoints.check_any(tmp_path, [entry("bert")])
    (tmp_path / "other").mkdir()
    with pytest.raises(HarnessError, match=rf"\({NAME}\) .*found other in "):
        checkpoints.check_any(tmp_path, [entry("bert")])
    with pytest.raises(HarnessError, match="no selected entry names one"):
        checkpoints.check_any(tmp_path, [replace(ENTRIES["bert"], checkpoint="")])


def test_a_folder_with_one_checkpoint_is_taken(bert: Path) -> None:
    checkpoints.check_any(bert, [ENTRIES["gpt2"], entry("bert")])


# ---- what they are of


def test_another_architecture_is_refused(bert: Path) -> None:
    with pytest.raises(HarnessError, match=r"of 'llama', found model_type 'bert' in .* Fix: "):
        loaded(bert, "llama")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "llama"}, "found model_type 'llama'"),
        (
            {"model_type": None, "architectures": ["GPT2Model"]},
            r"found architectures \['GPT2Model'\]",
        ),
        ({"architectures": ["GPT2Model"]}, r"found architectures \['GPT2Model'\]"),
        ({"model_type": None, "architectures": None}, "found no model_type"),
        ({"model_type": ["bert"]}, "found model_type"),
    ],
)
def test_a_config_of_another_architecture_is_refused(
    bert: Path, values: dict[str, Any], words: str
) -> None:
    set_config(bert, **values)
    with pytest.raises(HarnessError, match=f"expected a checkpoint of 'bert', {words}"):
        loaded(bert)


@pytest.mark.parametrize("text", ["{", "[]", "3", "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(bert: Path, text: str) -> None:
    (bert / NAME / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError, match=r"config\.json: expected .*JSON"):
        loaded(bert)


def test_a_config_that_lies_is_found_out_by_the_tensors(bert: Path) -> None:
    """All of its tensors are missing, whatever class is said to have saved it."""
    for saved_by in (["LlamaModel"], ["LlamaForCausalLM"], None):
        set_config(bert, model_type="llama", architectures=saved_by)
        with pytest.raises(CheckFailed, match=r"of \d+ weights are not in it: .*layers\.0\."):
            loaded(bert, "llama")


def test_a_part_of_a_composite_is_taken(saved: Callable[..., Path]) -> None:
    assert type(loaded(saved("clip"), "clip_text_model")).__name__ == "CLIPTextModel"


# ---- all of them, and nothing else


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("encoder.layer.0.output.dense.weight"),
            "found 1 of 39 weights are not in it: encoder.layer.0.output",
        ),
        (
            lambda t: t.update({"encoder.layer.9.output.dense.bias": t["pooler.dense.bias"]}),
            "unexpected: encoder.layer.9.output.dense.bias",
        ),
        (
            lambda t: t.update({"pooler.dense.bias": t["pooler.dense.bias"][:-1]}),
            "of another shape: pooler.dense.bias has",
        ),
        (
            lambda t: t.update({"puler.dense.bias": t.pop("pooler.dense.bias")}),
            "weights are not in it: pooler.dense.bias; unexpected: puler.dense.bias",
        ),
    ],
    ids=["missing", "unexpected", "another shape", "misspelt"],
)
def test_a_spoilt_checkpoint_fails_by_the_tensors_name(
    bert: Path, change: Callable[[Tensors], object], words: str
) -> None:
    loaded(bert)
    edit(bert, change)
    with pytest.raises(CheckFailed) as error:
        loaded(bert)
    assert words in str(error.value)


def test_a_tensor_that_the_headless_model_lacks_is_missing_below_a_head_too(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved("gpt2", "text-generation"), tmp_path / "checkpoints"))
    loaded(folder, "gpt2")
    edit(folder, lambda t: t.pop("transformer.h.0.ln_1.weight"))
    for head in (BASE, "text-generation"):
        with pytest.raises(CheckFailed, match=r"1 of \d+ .*not in it: .*h\.0\.ln_1\.weight"):
            loaded(folder, "gpt2", head)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("bert", "fill-mask"),  # the output layer is the embedding
        ("t5", "text2text-generation"),
        ("gpt2", "text-generation"),
        ("llama", "text-generation"),
    ],
)
def test_a_head_is_taken_with_its_own_checkpoint(
    saved: Callable[..., Path], name: str, head: str
) -> None:
    loaded(saved(name, head), name, head)


def test_a_headless_model_leaves_the_head_of_its_checkpoint(saved: Callable[..., Path]) -> None:
    assert type(loaded(saved("llama", "text-generation"), "llama")).__name__ == "LlamaModel"


def test_a_checkpoint_may_hold_more_parts_than_the_model(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    """The published BERT has the head of next sentences and the pooler beside its masked words."""
    folder = Path(shutil.copytree(saved("bert", "fill-mask"), tmp_path / "checkpoints"))
    names = ("cls.seq_relationship.weight", "bert.pooler.dense.weight")
    edit(folder, lambda t: t.update(dict.fromkeys(names, np.zeros((2, 2), np.float32))))
    assert type(loaded(folder, "bert", "fill-mask")).__name__ == "BertForMaskedLM"


# ---- code of their own


def test_code_of_a_checkpoint_runs_where_it_is_trusted(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("dynamic_module_utils", "utils.hub", "utils"):
        name = f"transformers.{place}.HF_MODULES_CACHE"
        monkeypatch.setattr(name, str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr("sys.path", [*sys.path])
    for kind, name in (("configuration", "Config"), ("modeling", "Model")):
        said = '    model_type = "own"\n' if name == "Config" else ""
        more = "    config_class = OwnConfig\n" if name == "Model" else ""
        head = "from .configuration_own import OwnConfig\n" if name == "Model" else ""
        code = f"from transformers import Bert{name}\n{head}\n\nclass Own{name}(Bert{name}):\n"
        (bert / NAME / f"{kind}_own.py").write_text(f"{code}{said}{more}    is_own = True\n")
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    set_config(bert, model_type="own", architectures=["OwnModel"], auto_map=auto_map)
    with pytest.raises(HarnessError, match=r"configuration_own\.py, modeling_own\.py; .*Fix: read"):
        loaded(bert)
    trusted = TinyCase(entry("bert"), checkpoints=bert, trusted=True).module()
    assert (type(trusted).__name__, trusted.is_own) == ("OwnModel", True)
    with pytest.raises(Absent, match="no class for fill-mask"):
        TinyCase(entry("bert"), checkpoints=bert, trusted=True, head="fill-mask").module()
    set_config(bert, model_type="bert", architectures=["BertModel"])
    assert type(loaded(bert)).__name__ == "BertModel"


def test_a_part_that_was_not_saved_is_absent_and_not_drawn_at_random(
    saved: Callable[..., Path],
) -> None:
    with pytest.raises(Absent, match=r"weights of cls of BertForMaskedLM, .* holds BertModel"):
        loaded(saved("bert"), "bert", "fill-mask")
    with pytest.raises(Absent, match=r"weights of pooler of BertModel, .* holds BertForMaskedLM"):
        loaded(saved("bert", "fill-mask"), "bert")


def test_a_part_that_was_saved_and_is_gone_is_missing(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved("bert", "fill-mask"), tmp_path / "checkpoints"))

    def without_embeddings(tensors: Tensors) -> None:
        for name in [name for name in tensors if ".embeddings." in name]:
            del tensors[name]

    edit(folder, without_embeddings)
    with pytest.raises(CheckFailed, match="not in it: embeddings"):
        loaded(folder)


# ---- of diffusers

DENOISER = "dit"


@pytest.fixture
def denoiser(saved: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with a checkpoint of a transformer of diffusers, to be spoilt."""
    folder = Path(shutil.copytree(saved(DENOISER), tmp_path / "checkpoints"))
    assert type(loaded(folder, DENOISER)).__name__ == ENTRIES[DENOISER].architecture
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("proj_out_2.bias"), "weights are not in it: proj_out_2.bias"),
        (lambda t: t.update({"proj_out_3.bias": t["proj_out_2.bias"]}), "unexpected: proj_out_3"),
        (
            lambda t: t.update({"proj_out_2.bias": t["proj_out_2.bias"][:-1]}),
            "of another shape: proj_out_2.bias has",
        ),
    ],
    ids=["missing", "unexpected", "another shape"],
)
def test_a_spoilt_checkpoint_of_diffusers_fails_by_the_tensors_name(
    denoiser: Path, change: Callable[[Tensors], object], words: str
) -> None:
    edit(denoiser, change, "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckFailed) as error:
        loaded(denoiser, DENOISER)
    assert words in str(error.value)


@pytest.mark.parametrize("said", ["UNet2DConditionModel", None])
def test_a_checkpoint_of_another_class_of_diffusers_is_refused(
    denoiser: Path, said: str | None
) -> None:
    set_config(denoiser, _class_name=said)
    with pytest.raises(HarnessError, match=f"found _class_name {said!r} in .* Fix: "):
        loaded(denoiser, DENOISER)
