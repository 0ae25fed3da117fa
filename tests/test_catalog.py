from __future__ import annotations

import argparse
import json
from importlib import metadata
from pathlib import Path

import pytest

from harness.catalog import model_lists, requirements
from harness.commands import list as list_command
from harness.contract import Entry, HarnessError

PYTEST = metadata.version("pytest")
LISTS = {
    "encoder_only": """\
[bert]
architecture = "bert"
task = "fill-mask"
priority = "critical"

[encoder_decoder]
architecture = "encoder-decoder"
""",
    "decoder_only": """\
[gpt2]
architecture = "gpt2"
aliases = ["Generative Pre-trained"]

[mistral_nemo]
architecture = "mistral"
requires = ["transformers<=4.57.6"]
config = { sliding_window = "null", rope = [{ a = "null" }, 2], head_dim = 128 }
""",
    "encoder_decoder": """\
[t5]
architecture = "t5"
""",
    "unavailable": """\
[palm]
kind = "closed-weights"
reason = "API only."
spellings = ["PaLM-540B"]
""",
    "subsets": """\
[smoke]
about = "A few."
entries = ["gpt2", "bert"]
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "model_lists"
    folder.mkdir()
    for name, text in LISTS.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    (root / "model_lists" / f"{name}.toml").write_text(text, encoding="utf-8")


def names(entries: list[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_entries_come_in_the_order_of_the_lists(root: Path) -> None:
    loaded = model_lists.load(root)
    assert list(loaded.entries) == ["gpt2", "mistral_nemo", "t5", "bert", "encoder_decoder"]
    assert loaded.entries["bert"] == Entry(
        "bert", "encoder-only", "bert", "fill-mask", priority="critical", heads=("fill-mask",)
    )
    assert loaded.files["bert"].name == "encoder_only.toml"
    assert loaded.subsets == {"smoke": ("gpt2", "bert")}
    assert loaded.unavailable["palm"].reason == "API only."
    assert loaded.families() == ("encoder-only", "decoder-only", "encoder-decoder")


def test_the_string_null_is_none_in_a_config(root: Path) -> None:
    config = model_lists.load(root).entries["mistral_nemo"].config
    assert config == {"sliding_window": None, "rope": [{"a": None}, 2], "head_dim": 128}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("bert", ["bert"]),
        ("GPT-2", ["gpt2"]),
        ("bert, gpt2,bert", ["gpt2", "bert"]),
        ("smoke", ["gpt2", "bert"]),
        ("Decoder_Only", ["gpt2", "mistral_nemo"]),
        ("generative pre trained", ["gpt2"]),
        ("mistral.nemo", ["mistral_nemo"]),
        ("encoder_decoder", ["t5"]),  # the family goes before the entry
        ("smoke,t5", ["gpt2", "t5", "bert"]),
        ("All", ["gpt2", "mistral_nemo", "t5", "bert", "encoder_decoder"]),
    ],
)
def test_select(root: Path, spec: str, expected: list[str]) -> None:
    assert names(model_lists.load(root).select(spec)) == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("brt", ["'brt'", "Did you mean `bert`", "python -m harness list"]),
        ("smoek", ["Did you mean `smoke`"]),
        ("decoder-onyl", ["`decoder-only`"]),
        ("zzzzzz", ["'zzzzzz'"]),
        ("PaLM 540B", ["closed-weights", "API only."]),
        ("", ["separated by commas", "--models"]),
        (" , ", ["separated by commas"]),
    ],
)
def test_a_name_that_is_none(root: Path, spec: str, words: list[str]) -> None:
    with pytest.raises(HarnessError) as error:
        model_lists.load(root).select(spec)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "speech",
            '[whisper]\narchitecture = "whisper"\ncheckpiont = "x"\n',
            ["speech.toml:3:", "[whisper]", "`checkpiont`", "Did you mean `checkpoint`?"],
        ),
        ("speach", '[a]\narchitecture = "a"\n', ["speach.toml", "`speech`", "rename"]),
        (
            "speech",
            '[a]\narchitecture = "a"\nlibrary = "transformrs"\n',
            ["speech.toml:3:", "found 'transformrs'", "Fix: write `transformers`"],
        ),
        (
            "speech",
            '[a]\narchitecture = "a"\nrequires = ["transfomers>=5"]\n',
            ["speech.toml:3:", "found 'transfomers'", "Fix: write `transformers`"],
        ),
        ("speech", '[bert]\narchitecture = "b"\n', ["speech.toml:1:", "encoder_only.toml"]),
        ("speech", '[b_ert]\narchitecture = "b"\n', ["`b_ert`", "(as `bert`)"]),
        ("speech", '[a]\narchitecture = "a"\naliases = ["GPT 2"]\n', ["`GPT 2`", "decoder_only"]),
        ("speech", '[a]\narchitecture = "a"\n[a]\n', ["speech.toml:3", "expected TOML"]),
        ("speech", '[a]\narchitecture = "a\n', ["speech.toml:2", "expected TOML"]),
        ("speech", "[a\n", ["speech.toml:1", "expected TOML"]),
        (
            "speech",
            '\n\n[a]\ntask = "fill-mask"\n',
            ["speech.toml:3:", "architecture", "found none"],
        ),
        ("speech", '[a]\narchitecture = ""\n', ["speech.toml:2:", "architecture"]),
        ("speech", "[a]\narchitecture = 3\n", ["speech.toml:2:", "a string", "found 3"]),
        (
            "speech",
            '[a]\narchitecture = "a"\npriority = "hihg"\n',
            ["speech.toml:3:", "critical, high, medium, low", "`high`"],
        ),
        (
            "speech",
            '[a]\narchitecture = "a"\ntask = "fil-mask"\n',
            ["speech.toml:3:", "'fil-mask'", "Did you mean `fill-mask`?"],
        ),
        (
            "speech",
            '[a]\narchitecture = "a"\nrequires = ["transformers<<4"]\n',
            ["speech.toml:3:", "'transformers<<4'", "as pip takes them"],
        ),
        ("speech", '[a]\narchitecture = "a"\nrequires = "x"\n', [":3:", "a list of strings"]),
        (
            "speech",
            '[a]\narchitecture = "a"\nconfig = "x"\n',
            [":3:", "expected a table", "`config = { ... }`"],
        ),
        ("speech", '[A-b]\narchitecture = "a"\n', [":1:", "a-z, 0-9 and _"]),
        ("speech", 'bare = "a"\n', ["bare key `bare`"]),
        ("unavailable", '[x]\nkind = "close"\nreason = "y"\n', [":2:", "closed-weights"]),
        ("unavailable", '[x]\nkind = "unpackaged"\n', [":1:", "expected `reason`"]),
        ("unavailable", '[BERT]\nkind = "unpackaged"\nreason = "y"\n', ["[bert]", "is an entry"]),
        ("subsets", '[s]\nentries = ["bertt"]\n', [":2:", "'bertt'", "`bert`"]),
        ("subsets", '[s]\nentries = ["bert", "bert"]\n', ["'bert' twice"]),
        ("subsets", '[bert]\nentries = ["bert"]\n', ["a name of its own"]),
        ("subsets", '[s]\nentires = ["bert"]\n', ["`entires`", "Did you mean `entries`?"]),
    ],
)
def test_a_wrong_list_says_where_and_what(
    root: Path, file: str, text: str, words: list[str]
) -> None:
    put(root, file, text)
    with pytest.raises(HarnessError) as error:
        model_lists.load(root)
    for word in [*words, "Fix: "]:
        assert word in str(error.value), str(error.value)


def test_the_line_of_a_key_is_that_of_its_own_table(root: Path) -> None:
    text = '[a]\narchitecture = "a"\npriority = "low"\n[b]\narchitecture = "b"\npriority = "no"\n'
    put(root, "speech", text)
    with pytest.raises(HarnessError, match=r"model_lists/speech.toml:6: \[b\]"):
        model_lists.load(root)


def test_no_lists_at_all(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="found none"):
        model_lists.load(tmp_path)


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / "model_lists" / "speech.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HarnessError, match=r"speech\.toml: expected a readable UTF-8 file"):
        model_lists.load(root)


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ((), None),
        (("pytest",), None),
        (("pytest>=1",), None),
        (("pytest<1",), f"requires pytest<1, found {PYTEST}"),
        (("no-such-thing>2",), "requires no-such-thing>2, not installed"),
        (
            ("no-such-thing", "pytest<1"),
            f"requires no-such-thing, not installed; requires pytest<1, found {PYTEST}",
        ),
        (('no-such-thing; python_version < "3"',), None),
    ],
)
def test_unmet_requirements(requires: tuple[str, ...], expected: str | None) -> None:
    entry = Entry("a", "speech", "a", requires=requires)
    assert requirements.unmet_requirements(entry) == expected


def test_a_local_version_meets_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    entry = Entry("a", "speech", "a", requires=("torch<=2.13.0",))
    assert requirements.unmet_requirements(entry) is None


def run(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    list_command.add_arguments(parser)
    return list_command.main(parser.parse_args([*words, "--root", str(root)]))


def test_list_shows_every_entry(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["name", "family", "architecture", "task", "priority", "requires"]
    assert out[-1] == "5 entries"
    assert len(out) == 7
    assert run(root, "bert") == 0
    assert capsys.readouterr().out.endswith("\n1 entry\n")


def test_list_names(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "smoke", "--names") == 0
    assert capsys.readouterr().out == "gpt2\nbert\n"


def test_list_json_has_what_the_lists_have(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "mistral_nemo", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["config"] == {"sliding_window": None, "rope": [{"a": None}, 2], "head_dim": 128}
    assert entry["requires"] == ["transformers<=4.57.6"]


def test_list_summary_adds_up(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--summary") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == ["all", "1", "0", "4", "0", "5"]
    assert ["decoder-only", "0", "0", "2", "0", "2"] in lines


def test_list_unavailable_and_subsets(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--unavailable") == 0
    assert "closed-weights  API only." in capsys.readouterr().out
    assert run(root, "--subsets") == 0
    assert capsys.readouterr().out == "smoke: gpt2, bert\n"
