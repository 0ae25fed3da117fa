from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import pytest

from harness.catalog import discovery, family_guess, installed, model_lists
from harness.catalog.installed import InstalledLibrary
from harness.commands import discover
from harness.contract import HarnessError

#: A transformers package as small as the parts that are read of it.
PACKAGE = {
    "__init__.py": '__version__ = "9.1.0"\nfrom .nowhere import everything\n',
    "models/auto/auto_mappings.py": """\
CONFIG_MAPPING_NAMES = OrderedDict(
    [
        ("bert", "BertConfig"),
        ("brand-new", "BrandNewConfig"),
        ("expert_lm", "ExpertLmConfig"),
        ("seer", "SeerConfig"),
        ("two_faced", "TwoFacedConfig"),
        ("upernet", "UperNetConfig"),
        ("odd", "OddConfig"),
    ]
)
SPECIAL_MODEL_TYPE_TO_MODULE_NAME = OrderedDict([("odd", "strange")])
""",
    "models/auto/configuration_auto.py": """\
from .auto_mappings import CONFIG_MAPPING_NAMES
CONFIG_MAPPING_NAMES.update({"late": "LateConfig"})
CONFIG_MAPPING_NAMES = OrderedDict(**{"later": "LaterConfig"}, **CONFIG_MAPPING_NAMES)
""",
    "models/auto/modeling_auto.py": """\
MODEL_MAPPING_NAMES = OrderedDict(
    [
        ("bert", "BertModel"),
        ("brand-new", "BrandNewModel"),
        ("expert_lm", ("ExpertLmModel", "ExpertLmBaseModel")),
        ("seer", "SeerModel"),
        ("two_faced", "TwoFacedModel"),
        ("odd", "OddModel"),
    ]
)
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES: OrderedDict[str, str] = OrderedDict(
    [("brand-new", "BrandNewForCausalLM"), ("expert_lm", "ExpertLmForCausalLM")]
)
MODEL_FOR_MASKED_LM_MAPPING_NAMES = OrderedDict([("bert", "BertForMaskedLM")])
MODEL_FOR_AUDIO_TOKENIZATION_NAMES = OrderedDict([("odd", "OddModel")])
MODEL_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_MAPPING_NAMES)
""",
    "models/expert_lm/configuration_expert_lm.py": """\
class ExpertLmConfig(PreTrainedConfig):
    num_experts: int = 8
""",
    "models/seer/modeling_seer.py": """\
class SeerModel(PreTrainedModel):
    main_input_name = "pixel_values"

    def forward(self, pixel_values: torch.Tensor | None = None, **kwargs) -> Output:
        return pixel_values
""",
    "models/two_faced/modeling_two_faced.py": """\
class TwoFacedModel(PreTrainedModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
    ) -> tuple[torch.Tensor]:
        return ()


class Unrelated:
    pass
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PACKAGE.items():
        path = tmp_path / "transformers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "transformers"


@pytest.fixture
def library(folder: Path) -> InstalledLibrary:
    return installed.installed(folder)


def row(name: str, architecture: str = "", more: str = "") -> str:
    return f'[{name}]\narchitecture = "{architecture or name}"\n{more}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lists = tmp_path / "model_lists"
    lists.mkdir()
    (lists / "encoder_only.toml").write_text(
        "# Encoders.\n\n" + row("bert") + "\n# kept\n" + row("zeta", "bert"), encoding="utf-8"
    )
    return tmp_path


def test_the_mappings_are_read_without_importing(library: InstalledLibrary) -> None:
    assert library.version == "9.1.0"
    assert list(library.architectures) == [
        "bert",
        "brand-new",
        "expert_lm",
        "seer",
        "two_faced",
        "odd",
    ]
    assert library.architectures["expert_lm"] == "ExpertLmModel"
    assert {"late", "later", "upernet"} <= set(library.configs)
    assert library.heads["odd"] == {"AUDIO_TOKENIZATION"}
    assert library.heads["brand-new"] == {"CAUSAL_LM"}


@pytest.mark.parametrize(
    ("architecture", "family", "task"),
    [
        ("bert", "encoder-only", "fill-mask"),
        ("brand-new", "decoder-only", "text-generation"),
        ("expert_lm", "mixture-of-experts", "text-generation"),
        ("seer", "vision", "image-feature-extraction"),
        ("two_faced", "multimodal", "feature-extraction"),
        ("odd", "speech", "audio-tokenization"),
    ],
)
def test_guesses(library: InstalledLibrary, architecture: str, family: str, task: str) -> None:
    guess = family_guess.guess(library, architecture)
    assert (guess.family, guess.task) == (family, task)
    assert guess.because


def test_what_is_new_gone_renamed_and_absent(root: Path, library: InstalledLibrary) -> None:
    rows = [
        row("brand_new", "brand_new"),  # another spelling: renamed
        row("upernet"),  # has no base model, and is there
        row("lost"),
        row("old", more='requires = ["transformers<=4.57.6"]\n'),
        row("gone_soon", "lost_too", 'requires = ["Transformers>=5", "timm"]\n'),
        row("graph", "GraphSAGE", 'library = "torch_geometric"\n'),
    ]
    (root / "model_lists" / "vision.toml").write_text("".join(rows), encoding="utf-8")
    found = discovery.compare(library, model_lists.load(root))
    assert found.version == "9.1.0"
    assert found.new == ("brand-new", "expert_lm", "odd", "seer", "two_faced")
    assert found.renamed == {"brand_new": "brand-new"}
    assert found.gone == ("lost", "gone_soon")
    assert found.absent == ("old",)


def run(root: Path, folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    discover.add_arguments(parser)
    chosen = ["--root", str(root), "--transformers", str(folder)]
    return discover.main(parser.parse_args([*words, *chosen]))


def test_the_command_prints_and_fails(
    root: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "model_lists" / "vision.toml"
    path.write_text(row("lost") + row("b", "brand_new"), encoding="utf-8")
    assert run(root, folder) == 1
    out = capsys.readouterr().out
    assert "transformers 9.1.0: 1 of 6 architectures are listed" in out
    assert "new      seer: probably vision (main input pixel_values)" in out
    assert "renamed  b: brand_new is probably brand-new now" in out
    assert "gone     lost: no lost here" in out
    assert 'requires = ["transformers<9.1.0"]' in out
    assert "--write" in out


def test_write_adds_rows_and_moves_nothing_else(
    root: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "model_lists" / "encoder_only.toml").read_bytes()
    assert run(root, folder, "--write") == 0
    out = capsys.readouterr().out
    assert "wrote model_lists/vision.toml" in out
    assert (root / "model_lists" / "encoder_only.toml").read_bytes() == before
    assert (root / "model_lists" / "mixture_of_experts.toml").read_text(encoding="utf-8") == (
        f"{model_lists.SCHEMA}\n"
        "# review: family and task guessed from head CAUSAL_LM, config field num_experts\n"
        "[expert_lm]\n"
        'architecture = "expert_lm"\n'
        'task = "text-generation"\n'
        'priority = "low"\n'
    )
    loaded = model_lists.load(root)
    assert loaded.entries["brand_new"].architecture == "brand-new"
    assert discovery.compare(installed.installed(folder), loaded).new == ()
    assert run(root, folder) == 0


def test_write_into_a_list_that_is_there(root: Path, library: InstalledLibrary) -> None:
    path = root / "model_lists" / "vision.toml"
    old = "# Images.\n\n# first\n" + row("alpha", "bert") + "\n" + row("zebra", "bert", "# end\n")
    path.write_text(old, encoding="utf-8")
    assert discovery.write(library, ["seer"], model_lists.load(root), root) == [
        "model_lists/vision.toml"
    ]
    text = path.read_text(encoding="utf-8")
    assert list(tomllib.loads(text)) == ["alpha", "seer", "zebra"]
    at = text.index("# review: ")
    assert text[:at] + text[text.index("[zebra]") :] == old


def test_write_never_takes_a_name_twice(root: Path, library: InstalledLibrary) -> None:
    lists = root / "model_lists"
    (lists / "speech.toml").write_text(row("se_er", "bert"), encoding="utf-8")
    with pytest.raises(HarnessError, match="found an entry"):
        discovery.write(library, ["brand-new", "seer"], model_lists.load(root), root)
    assert sorted(path.name for path in lists.iterdir()) == ["encoder_only.toml", "speech.toml"]


def test_json(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, folder, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == "9.1.0"
    assert found["guesses"]["seer"]["family"] == "vision"


def test_a_folder_that_is_no_transformers(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(HarnessError, match=r"no __init__\.py with a version"):
        installed.installed(tmp_path)
    (folder / "models" / "auto" / "modeling_auto.py").write_text("", encoding="utf-8")
    with pytest.raises(HarnessError, match="expected MODEL_MAPPING_NAMES"):
        _ = installed.installed(folder).architectures


def test_no_transformers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match="pip install transformers"):
        installed.installed()
