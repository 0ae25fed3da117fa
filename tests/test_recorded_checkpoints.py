"""Recorded checkpoints: written down and read back, and what a library that errs makes of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog import backend_spec, backends, model_lists
from harness.cell import stages
from harness.cell.request import Job
from harness.commands import record_checkpoints
from harness.commands.record_checkpoints import RecordRequest
from harness.contract import BASE, Cell, CheckFailed, HarnessError, Outcome, Stage, label
from harness.models import model_class
from harness.models.case import TinyCase
from harness.models.recorded import abridged, digests, files, making, reading, record, values
from harness.models.recorded.names import TensorSpec, folded, unfolded
from harness.models.recorded.record import RecordedCheckpoint
from harness.toolkit import signature
from harness.workers import task_endings
from harness.workers.ending import Ending
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

ENTRIES = model_lists.load().entries

BLOCK = """\
[gpt2:text-generation + tie_word_embeddings=false] GPT2LMHeadModel 4.30.2
config model_type "gpt2"
config n_embd 8
tensor h.{0-1,3} bias f32[8]
tensor wte weight f32[16,8]
alias lm_head.weight wte.weight
added ln weight bf16[]
dropped h.3 bias f32[8]
input input_ids ["int64", [1, 2], [5, 3]]
argument output_router_logits true
output logits [0.98, 0.11, -0.2, 0.3, 0.1]
"""

numbers = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(tuple)
specs = st.builds(
    TensorSpec,
    st.sampled_from(["f32", "bf16", "i64"]),
    st.lists(st.integers(0, 100), max_size=3).map(tuple),
)
keys = st.lists(
    st.sampled_from(["0", "1", "2", "3", "11", "layers", "q_proj", "weight", "conv1"]),
    min_size=1,
    max_size=5,
).map(".".join)


# ---- the lines


@given(st.dictionaries(keys, specs, max_size=30))
def test_folded_names_stand_for_all_tensors_and_no_other(tensors: dict[str, TensorSpec]) -> None:
    assert unfolded(folded(tensors)) == tensors


def test_layers_fold_into_one_line() -> None:
    bias = TensorSpec("f32", (8,))
    tensors = {f"layer.{i}.norm.{j}.bias": bias for i in (0, 1, 2, 5) for j in (0, 1)}
    assert folded(tensors) == ["layer.{0-2,5}.norm.{0-1} bias f32[8]"]


def test_a_block_reads_as_it_was_written() -> None:
    found = record.parse(BLOCK)
    assert str(found) == BLOCK
    assert found.tensors.keys() == {"h.0.bias", "h.1.bias", "h.3.bias", "wte.weight"}
    assert found.saved.keys() == {"h.0.bias", "h.1.bias", "wte.weight", "ln.weight"}


@pytest.mark.parametrize(
    "spoilt",
    [
        BLOCK.replace("4.30.2", ""),
        BLOCK.replace("config", "confog"),
        BLOCK.replace("[16,8]", "[16;8]"),
        BLOCK.replace("n_embd 8", "n_embd {"),
    ],
)
def test_a_block_that_is_none_is_refused(spoilt: str) -> None:
    with pytest.raises(HarnessError, match=r"begins with \[LABEL\] CLASS VERSION, found .* Fix: "):
        record.parse(spoilt)


def test_blocks_are_found_by_the_label_of_their_cell(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.txt"
    assert record.load(path) == {}
    plain = BLOCK.replace(" + tie_word_embeddings=false", "")
    path.write_text(f"# a record\n\n{plain}\n{BLOCK}", encoding="utf-8")
    assert record.load(path) == {"gpt2:text-generation": [plain, BLOCK]}


def test_every_block_of_the_record_reads_as_it_was_written() -> None:
    blocks = [block for found in record.load().values() for block in found]
    assert len(blocks) > 800
    assert [b for b in blocks if record.parse(str(record.parse(b))) != record.parse(b)] == []


def test_every_model_of_transformers_is_recorded() -> None:
    """Each whose signature is, but for branches; the file says which are left out, and why."""
    exceptions = {
        name.strip()
        for line in record.RECORD.read_text(encoding="utf-8").splitlines()
        if line.startswith("# left out, ")
        for name in line.partition(":")[2].split(",")
    }
    known = {
        label(entry.name, head)
        for entry in ENTRIES.values()
        if entry.library == "transformers" and not entry.branch_of
        for head in record.recorded_heads(entry)
    } & signature.load(signature.SNAPSHOT).keys()
    assert known - record.load().keys() == exceptions & known


def test_a_block_like_another_holds_what_differs() -> None:
    lines = [f"tensor layer.{{0-1}}.{name} weight f32[8]" for name in "abcdefgh"]
    base = "\n".join(["[m] Model 1.0", 'config model_type "m"', *lines, "output y [1, 2]"]) + "\n"
    head = base.replace("[m] Model", "[m:task] Head").replace("layer.", "m.layer.")
    head = head.replace("tensor m.layer.{0-1}.h weight f32[8]\n", "").replace("[1, 2]", "[3, 4]")
    other = '[n] Other 1.0\nconfig model_type "n"\n' + "\n".join(lines) + "\n"
    short = abridged.abridged([base, head, other])
    assert short == [
        base.strip(),
        "[m:task] Head 1.0\nlike [m] m.\n- tensor m.layer.{0-1}.h weight f32[8]\noutput y [3, 4]",
        other.strip(),
    ]
    assert [record.parse(b) for b in abridged.whole(short)] == [
        record.parse(b) for b in (base, head, other)
    ]
    with pytest.raises(ValueError, match=r"\[m:task\] Head 1.0 is like \[m\], of which"):
        abridged.whole(short[1:])


def test_a_record_that_lacks_a_block_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.txt"
    path.write_text("\n[a] Model 1.0\nlike [b]\n", encoding="utf-8")
    with pytest.raises(HarnessError, match=r"is like \[b\], of which .* Fix: "):
        record.load(path)


# ---- the data


def test_data_follows_from_the_name_and_is_exact_in_sixteen_bits() -> None:
    tensors = {name: TensorSpec("f32", (4, 5)) for name in ("a.weight", "b.weight")}
    made = values.tensors(tensors)
    assert not np.array_equal(made["a.weight"], made["b.weight"])
    assert np.array_equal(made["a.weight"], values.tensors(tensors)["a.weight"])
    assert np.array_equal(made["a.weight"], made["a.weight"].astype(np.float16))


def test_a_digest_tells_one_value_from_another_and_no_rounding() -> None:
    right = np.random.default_rng(3).standard_normal((2, 8, 16))
    wrong = right.copy()
    wrong[0, :4] *= 1.2
    before = digests.of({"logits": right})
    assert digests.differing(digests.of({"logits": right * (1 + 1e-5)}), before) is None
    different = digests.differing(digests.of({"logits": wrong}), before)
    assert different is not None
    assert different[0] == "logits"
    assert digests.differing({}, before) is None


def test_a_sharded_checkpoint_holds_all_of_it_in_halves(tmp_path: Path) -> None:
    files.write(record.parse(BLOCK), tmp_path, sharded=True)
    assert len(list(tmp_path.glob("*.safetensors"))) == files.SHARDS
    found = files.tensors_in(tmp_path)
    assert found == {
        name: replace(spec, dtype="f16") for name, spec in record.parse(BLOCK).tensors.items()
    }


# ---- a library that errs


Make = Callable[[str, str], list[RecordedCheckpoint]]


@pytest.fixture(scope="module")
def recorded() -> Make:
    """Checkpoints of a cell as this environment's version saves them, made once."""
    made: dict[tuple[str, str], list[RecordedCheckpoint]] = {}

    def make(name: str, head: str = BASE) -> list[RecordedCheckpoint]:
        if (name, head) not in made:
            made[name, head] = list(making.make(TinyCase(ENTRIES[name], head=head)))
        return made[name, head]

    return make


def check(found: RecordedCheckpoint, name: str, head: str = BASE) -> None:
    reading.check(found, ENTRIES[name].architecture, head)


def change_first(tensors: Any, change: Callable[[str, TensorSpec], tuple[str, TensorSpec]]) -> Any:
    name = next(name for name in tensors if name.endswith("query.weight"))
    return dict(change(k, v) if k == name else (k, v) for k, v in tensors.items())


def test_what_this_version_saves_it_reads(recorded: Make) -> None:
    for head in (BASE, "fill-mask"):
        for found in recorded("bert", head):
            check(found, "bert", head)
            check(record.parse(str(found)), "bert", head)


def test_ties_are_recorded_the_other_way_round(recorded: Make) -> None:
    head = "text-generation"
    plain, tied = recorded("llama", head)
    assert tied.label == f"llama:{head} + tie_word_embeddings=true"
    assert plain.tensors.keys() - tied.tensors.keys() == {"lm_head.weight"}
    check(tied, "llama", head)
    with pytest.raises(CheckFailed, match=r"missing: lm_head\.weight"):
        check(replace(plain, tensors=tied.tensors), "llama", head)


def test_a_name_that_finds_no_place_fails(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    old = change_first(found.tensors, lambda name, spec: (name.replace("query", "q"), spec))
    with pytest.raises(CheckFailed) as error:
        check(replace(found, tensors=old), "bert")
    assert "old checkpoint: expected every checkpoint key of a checkpoint of" in str(error.value)
    assert "missing: encoder.layer.0.attention.self.query.weight; unexpected: " in str(error.value)


def test_a_shape_that_is_another_fails(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    old = change_first(found.tensors, lambda name, spec: (name, TensorSpec("f32", (3, 64))))
    with pytest.raises(CheckFailed, match=r"of another shape: .*query\.weight has"):
        check(replace(found, tensors=old), "bert")


def test_a_config_that_says_something_else_fails(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    with pytest.raises(CheckFailed, match="expected last_hidden_state of a checkpoint"):
        check(replace(found, config={**found.config, "hidden_act": "relu"}), "bert")


def test_a_tied_head_that_is_not_tied_fails(
    recorded: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "text-generation"
    found = recorded("gpt2", head)[0]
    cls: Any = model_class.of("gpt2", head)
    monkeypatch.setattr(cls, "_tied_weights_keys", {})
    with pytest.raises(CheckFailed, match=r"missing: lm_head\.weight"):
        check(found, "gpt2", head)


def test_a_model_saved_under_another_name_fails(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    name = "embeddings.word_embeddings.weight"
    published = {"embeddings.word_embedding.weight": found.tensors[name]}
    with pytest.raises(CheckFailed, match=r"saved name: .* key embeddings\.word_embedding\.weight"):
        check(replace(found, dropped=(name,), added=published), "bert")


def test_a_model_that_was_not_loaded_is_saved_alike_too(
    recorded: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = recorded("bert", BASE)
    make = reading.fresh

    def renamed(model: Any) -> Any:
        made = make(model)
        made.embedding = made.embeddings
        del made.embeddings
        return made

    monkeypatch.setattr(reading, "fresh", renamed)
    with pytest.raises(CheckFailed, match=r"saved name: .* built of its config, and not loaded"):
        check(found, "bert")
    check(replace(found, version="4.57.6"), "bert")


def test_an_alias_that_is_read_no_longer_fails(recorded: Make) -> None:
    found = recorded("gpt2", "text-generation")[0]
    other = {"lm_head.other": "transformer.wte.weight"}
    with pytest.raises(CheckFailed, match=r"with lm_head\.other for the tied transformer\.wte"):
        check(replace(found, aliases=other), "gpt2", "text-generation")


def test_aliases_of_several_tensors_are_read_together(
    recorded: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = recorded("gpt2", "text-generation")[0]
    final = {"transformer.ln_f.other": "transformer.ln_f.bias"}
    both = replace(found, aliases={**found.aliases, **final})
    read = []

    def counted(record: Any, cls: Any, aliases: Any, right: Any) -> None:
        read.append(list(aliases))
        if "wrong" in aliases:
            raise CheckFailed("wrong", fault="wrong")

    with pytest.raises(
        CheckFailed, match=r"with transformer\.ln_f\.other for the tied transformer"
    ):
        check(both, "gpt2", "text-generation")
    monkeypatch.setattr(reading, "read_aliases", counted)
    check(replace(found, aliases={"a": "x", "b": "x", "c": "y"}), "gpt2", "text-generation")
    assert read == [["a", "c"], ["b"]]
    read.clear()
    with pytest.raises(CheckFailed, match="wrong"):
        check(replace(found, aliases={"a": "x", "wrong": "y"}), "gpt2", "text-generation")
    assert read == [["a", "wrong"], ["a"], ["wrong"]]


def test_a_checkpoint_of_a_newer_version_is_passed_over(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    check(replace(found, version="99.0", tensors={}), "bert")


def test_an_older_checkpoint_gets_what_is_made_of_it_today(recorded: Make) -> None:
    (found,) = recorded("bert", BASE)
    ids = {"embeddings.position_ids": TensorSpec("i64", (1, 128))}
    older = replace(found, version="4.0", tensors={**found.tensors, **ids})
    updated = making.updated(older, model_class.of("bert"))
    assert updated.dropped == ("embeddings.position_ids",)
    check(updated, "bert")
    with pytest.raises(CheckFailed, match=r"saved name: .*position_ids"):
        check(older, "bert")


def test_the_roundtrip_of_a_cell_holds_them(
    recorded: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.torch_cpu.backend import Backend

    monkeypatch.setattr(backends, "load", lambda spec, options: Backend(options))
    (found,) = recorded("bert", BASE)
    wrong = replace(found, config={**found.config, "hidden_act": "relu"})
    for block, outcome in ((found, Outcome.PASS), (wrong, Outcome.FAIL)):
        cell = Cell(ENTRIES["bert"], "torch-cpu")
        job = Job(cell, 0, "tiny", backend_spec.BACKENDS, recorded_checkpoints=(str(block),))
        result = stages.run(job, lambda *_: None)
        assert result.outcome is outcome
    assert result.stage is Stage.ROUNDTRIP
    assert result.reason.startswith("old checkpoint: expected last_hidden_state")


# ---- the command


class Children:
    """Stands for the pool: each cell's child ends as the test says, or is absent."""

    def __init__(self, endings: dict[str, Ending]) -> None:
        self.endings = endings
        self.requests: dict[str, RecordRequest] = {}

    def __call__(self, keep: Callable[[Task, Ending], None], _: WorkerSettings) -> Children:
        self.keep = keep
        return self

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, tasks: Sequence[Task]) -> Iterator[Future[None]]:
        absent = Ending(Outcome.CRASH, Stage.BUILD, 0.1, reason="Absent: no such class")
        for task in tasks:
            self.requests[task.label] = task.argument
            self.target = task.target
            future: Future[None] = Future()
            future.set_result(self.keep(task, self.endings.get(task.label, absent)))
            yield future


Command = Callable[..., tuple[int, Children]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs the command on a file of its own."""

    def run(models: str, *words: str, **endings: Ending) -> tuple[int, Children]:
        children = Children(endings)
        monkeypatch.setattr(task_endings, "Pool", children)
        parser = argparse.ArgumentParser()
        record_checkpoints.add_arguments(parser)
        path = tmp_path / "checkpoints.txt"
        code = record_checkpoints.main(parser.parse_args([models, "-o", str(path), *words]))
        return code, children

    return run


def block(name: str, version: str = "4.30.2") -> str:
    return f"[{name}] Model {version}\nconfig size 1\n"


def made(*blocks: str) -> Ending:
    return Ending(None, Stage.REFERENCE, 0.1, value={"blocks": list(blocks), "problems": []})


BERT, LLAMA = "bert:fill-mask", "llama:text-generation"

FAILED = Ending(Outcome.FAIL, Stage.ROUNDTRIP, 0.1, reason="old checkpoint: expected all")


def test_blocks_are_written_in_the_order_of_their_labels(command: Command, tmp_path: Path) -> None:
    tied = block(f"{LLAMA} + tie_word_embeddings=true")
    code, _ = command("llama,bert", **{BERT: made(block(BERT)), LLAMA: made(block(LLAMA), tied)})
    assert code == 0
    text = (tmp_path / "checkpoints.txt").read_text(encoding="utf-8")
    told = "\n".join([record_checkpoints.HEADER, block(BERT), block(LLAMA), tied])
    assert text == told
    assert record.load(tmp_path / "checkpoints.txt").keys() == {BERT, LLAMA}


def test_comments_and_other_blocks_stay(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoints.txt"
    vit = "vit:image-classification"
    path.write_text(f"# mine\n\n{block(BERT)}\n{block(vit)}", encoding="utf-8")
    code, children = command("bert,llama", **{BERT: FAILED, LLAMA: made(block(LLAMA))})
    assert code == 0
    assert children.requests[BERT].known == (block(BERT),)
    assert path.read_text(encoding="utf-8").startswith("# mine\n\n[bert:fill-mask]")
    assert list(record.load(path)) == [BERT, LLAMA, vit]
    out = capsys.readouterr().out
    assert f"{BERT}: at roundtrip: old checkpoint: expected all\n" in out
    assert out.endswith("1 of 2 models recorded now\n")


def test_the_wrong_environment_writes_nothing(command: Command, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"expected a model that builds, found none .* Fix: "):
        command("bert")
    assert not (tmp_path / "checkpoints.txt").exists()


@pytest.mark.parametrize(("ending", "code"), [(made(), 0), (FAILED, 1)])
def test_reading_says_which_are_read_otherwise(
    command: Command, tmp_path: Path, ending: Ending, code: int
) -> None:
    path = tmp_path / "checkpoints.txt"
    path.write_text(block(BERT), encoding="utf-8")
    found, children = command("bert,llama", "--read", **{BERT: ending})
    assert found == code
    assert children.requests.keys() == {BERT}
    assert children.target.endswith(":read_blocks")
    assert path.read_text(encoding="utf-8") == block(BERT)


def test_a_child_records_and_reads_a_real_model() -> None:
    cell = Cell(ENTRIES["bert"], "torch-cpu")
    first = record_checkpoints.checkpoint_blocks(RecordRequest(cell, ()), lambda stage: None)
    (found,) = first["blocks"]
    assert record.parse(found).label == "bert"
    older = str(replace(record.parse(found), version="4.0"))
    request = RecordRequest(cell, (older,))
    again = record_checkpoints.checkpoint_blocks(request, lambda stage: None)
    assert again == {"blocks": [older], "problems": []}
    assert record_checkpoints.read_blocks(request, lambda stage: None) == 1
    older = older.replace('config hidden_act "gelu"', 'config hidden_act "relu"')
    again = record_checkpoints.checkpoint_blocks(RecordRequest(cell, (older,)), lambda stage: None)
    assert again["blocks"] == [older]
    assert again["problems"][0].startswith("old checkpoint: expected last_hidden_state of")
