"""Recording signatures: what is written, what is kept, and what a failure leaves alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from harness.catalog import backends, model_lists
from harness.cell.request import Job
from harness.commands import record
from harness.contract import Cell, Entry, HarnessError, Outcome, Stage
from harness.toolkit import signature
from harness.workers import task_endings
from harness.workers.ending import Ending
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

Keep = Callable[[Task, Ending], None]

OLD = "bert BertModel 1 input_ids:i64[b,s] -> y:f32[b,s,64]"


class Children:
    """Stands for the pool: each entry's child ends as the test says."""

    def __init__(self, endings: dict[str, Ending]) -> None:
        self.endings = endings
        self.settings: WorkerSettings | None = None
        self.jobs: dict[str, Job] = {}

    def __call__(self, keep: Keep, settings: WorkerSettings) -> Children:
        self.keep, self.settings = keep, settings
        return self

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, tasks: Sequence[Task]) -> Iterator[Future[None]]:
        for task in tasks:
            assert task.target == "harness.commands.record:signature_line"
            self.jobs[task.label] = task.argument
            future: Future[None] = Future()
            future.set_result(self.keep(task, self.endings.get(task.label, failed())))
            yield future


def line(entry: str, parameters: int = 7) -> str:
    return f"{entry} Model {parameters} input_ids:i64[b,s] -> y:f32[b,s,64]"


def recorded(entry: str) -> Ending:
    return Ending(None, Stage.REFERENCE, 0.1, value=line(entry))


def failed(reason: str = "Absent: requires timm") -> Ending:
    return Ending(Outcome.CRASH, Stage.INPUTS, 0.1, reason=reason)


class Recorder:
    """Records entries whose children end as the test says, into a file of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "signatures.txt"
        self.children = Children({})
        self._monkeypatch = monkeypatch

    def __call__(self, models: str, *words: str, **endings: Ending) -> int:
        self.children = Children(endings)
        self._monkeypatch.setattr(task_endings, "Pool", self.children)
        parser = argparse.ArgumentParser()
        record.add_arguments(parser)
        return record.main(parser.parse_args([models, "-o", str(self.path), *words]))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, monkeypatch)


def test_lines_are_written_in_order_of_the_entries(write: Recorder) -> None:
    assert write("llama,bert", bert=recorded("bert"), llama=recorded("llama")) == 0
    assert write.text == record.HEADER + f"{line('bert')}\n{line('llama')}\n"
    assert all(row.startswith("#") for row in record.HEADER.splitlines())
    assert list(signature.load(write.path)) == ["bert", "llama"]


def test_children_build_the_entries_of_the_lists(write: Recorder) -> None:
    write("bert", "--timeout", "7", bert=recorded("bert"))
    assert write.children.settings is not None
    assert write.children.settings.limits.seconds == 7
    assert write.children.settings.preload == backends.find("torch-cpu").preload
    assert list(write.children.jobs) == ["bert", "bert:fill-mask"]
    assert write.children.jobs["bert:fill-mask"].cell.head == "fill-mask"
    job = write.children.jobs["bert"]
    assert job.cell == Cell(model_lists.load().entries["bert"], "torch-cpu")
    assert (job.seed, job.size) == (0, "tiny")


def test_the_other_lines_stay(write: Recorder) -> None:
    old = f"{OLD}\n{line('gone_from_the_lists')}\n{line('vit')}\n"
    write.path.write_text(old, encoding="utf-8")
    write("llama", llama=recorded("llama"))
    assert write.text == record.HEADER + f"{OLD}\n{line('llama')}\n{line('vit')}\n"


def test_an_entry_that_does_not_build_keeps_its_line(
    write: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    write.path.write_text(OLD, encoding="utf-8")
    crashed = failed("killed by SIGSEGV")
    assert write("bert,llama,vit", bert=failed(), llama=recorded("llama"), vit=crashed) == 0
    assert OLD in write.text
    out = capsys.readouterr().out
    assert "bert: at inputs: Absent: requires timm\n" in out
    assert "vit: at inputs: killed by SIGSEGV\n" in out
    assert out.endswith("2 signatures; 1 of 6 models recorded now\n")  # and none of the three heads


def test_a_head_has_a_line_of_its_own(write: Recorder) -> None:
    write("bert", **{"bert": recorded("bert"), "bert:fill-mask": recorded("bert:fill-mask")})
    assert list(signature.load(write.path)) == ["bert", "bert:fill-mask"]


@pytest.mark.parametrize("before", [None, OLD], ids=["new", "old"])
def test_the_wrong_environment_changes_nothing(write: Recorder, before: str | None) -> None:
    if before is not None:
        write.path.write_text(before, encoding="utf-8")
    with pytest.raises(HarnessError, match=r"found none \(bert: at inputs: Absent.*nox -s torch"):
        write("bert,llama", bert=failed(), llama=failed())
    assert (write.text if write.path.exists() else None) == before


def test_a_misspelt_name_and_a_broken_snapshot(write: Recorder) -> None:
    with pytest.raises(HarnessError, match="lama"):
        write("lama")
    write.path.write_text("bert BertModel\n", encoding="utf-8")
    with pytest.raises(HarnessError, match="expected a signature like"):
        write("bert", bert=recorded("bert"))


def test_the_line_of_a_real_model() -> None:
    stages: list[Stage] = []
    job = Job(Cell(Entry("my_bert", "encoder-only", "bert"), "torch-cpu"), 0, "tiny", Path())
    found = record.signature_line(job, stages.append)
    assert stages == [Stage.INPUTS, Stage.REFERENCE]
    parsed = signature.parse(found)
    assert str(parsed) == found
    assert (parsed.label, parsed.model) == ("my_bert", "BertModel")
    assert parsed.parameters > 10_000
    assert str(parsed.inputs["input_ids"]) == "i64[b,s]"
    assert str(parsed.outputs["last_hidden_state"]) == "f32[b,s,64]"
