"""The check of Jenkins pipelines: what it lets pass, and each kind of fault that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from workplace import ROOT

from tools import jenkinsfile
from tools.jenkinsfile import Section

EXAMPLE = ROOT / "examples" / "ci" / "Jenkinsfile"


def made(name: str, *inside: str | Section) -> Section:
    """A section with others in it."""
    return Section(
        name, tuple(Section(each, ()) if isinstance(each, str) else each for each in inside)
    )


STEPS = made("stage", made("steps", "sh"), made("post", made("always", "junit")))


def test_the_example_is_a_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("groovy_parser")
    (pipeline,) = jenkinsfile.sections(EXAMPLE.read_text("utf-8"))
    assert [section.name for section in pipeline.inside] == ["agent", "options", "stages"]
    stage, _ = pipeline.inside[-1].inside
    assert [section.name for section in stage.inside[0].inside] == ["agent", "axes", "stages"]
    assert jenkinsfile.faults(pipeline) == []


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (made("pipeline", "agent", made("stages", STEPS)), ""),
        (made("pipeline", made("stages", STEPS)), "pipeline: expected agent, found none"),
        (
            made("pipeline", "agent", made("stages", "step")),
            "pipeline > stages: expected stage, found",
        ),
        (
            made("stage", "step"),
            "stage: expected exactly one of matrix, parallel, stages, steps, found",
        ),
        (made("stage", "steps", "stages"), "stages, steps, found steps, stages"),
        (made("post", "allways"), "post: expected one of aborted, always,"),
        (made("axes", made("axis", "title", "values")), "axes > axis: expected name, found none"),
    ],
)
def test_a_fault_is_named(pipeline: Section, said: str) -> None:
    found = jenkinsfile.faults(pipeline)
    assert any(said in line for line in found) if said else not found, found


def test_faults_make_the_session_red(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("groovy_parser")
    path = tmp_path / "Jenkinsfile"
    path.write_text("pipeline {\n    agent any,,\n}\n")
    assert jenkinsfile.main([str(path)]) == 1
    assert f"{path}: expected Groovy, found: Unexpected token" in capsys.readouterr().out
