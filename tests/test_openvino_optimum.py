"""Which class of optimum-intel stands for a cell, and what is kept of it; on a made-up optimum."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness.catalog.heads import known_heads
from harness.contract import BASE, Arrays, Entry, Precision, Unavailable, Unsupported

PACKAGE = "backends.openvino_optimum"
F32 = Precision("f32", "float32")
TEXT = ("input_ids", "attention_mask")

#: Exports of the made-up optimum: inputs and outputs by architecture and task.
EXPORTERS: Mapping[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("bert", "feature-extraction"): ((*TEXT, "token_type_ids"), ("last_hidden_state",)),
    ("mpnet", "feature-extraction"): (TEXT, ("last_hidden_state",)),
    ("sam", "feature-extraction"): (("pixel_values",), ("iou_scores", "pred_masks")),
    ("vit", "feature-extraction"): (("pixel_values",), ("last_hidden_state", "pooler_output")),
    ("gpt2", "text-generation"): ((*TEXT, "position_ids"), ("logits",)),
    ("whisper", "automatic-speech-recognition"): (("input_features",), ("last_hidden_state",)),
}


class TasksManager:
    """Optimum's registry, as far as it is asked."""

    @staticmethod
    def get_exporter_config_constructor(
        *, exporter: str, model_type: str, task: str, library_name: str
    ) -> Any:
        assert (exporter, library_name) == ("openvino", "transformers")
        inputs, outputs = EXPORTERS[model_type, task]
        return lambda config: SimpleNamespace(inputs=inputs, outputs=outputs)


class Optimum(ModuleType):
    """Every class of `optimum.intel`; keeps what its classes are asked for."""

    def __init__(self) -> None:
        super().__init__("optimum.intel")
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.refusal = ""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("OV"):
            raise AttributeError(name)
        return SimpleNamespace(from_pretrained=lambda *a, **k: self.loaded(name, *a, **k))

    def loaded(self, name: str, folder: str, **keywords: Any) -> Model:
        if self.refusal and keywords.get("export"):
            raise ValueError(self.refusal)
        self.asked.append((name, keywords))
        weights = "model.safetensors" if keywords.get("export") else "nested/openvino_model.bin"
        return Model(Path(folder, weights).read_bytes())


class Model:
    """Adds its one weight to what it is given."""

    def __init__(self, weight: bytes) -> None:
        self.weight = weight

    def save_pretrained(self, folder: Path) -> None:
        (folder / "nested").mkdir(parents=True)
        (folder / "nested" / "openvino_model.bin").write_bytes(self.weight)


class Core:
    """A machine with one CPU."""

    available_devices = ("CPU",)

    def get_property(self, device: str, name: str) -> Any:
        return SimpleNamespace(get_type_name=lambda: "bf16")


def main_export(model: str, output: Path, task: str, **keywords: Any) -> None:
    OPTIMUM.asked.append((f"main_export {task}", keywords))
    Model(Path(model, "model.safetensors").read_bytes()).save_pretrained(output)


def model_class(task: str) -> None:
    raise KeyError(f"Task '{task}' is not supported by OpenVINO.")


OPTIMUM = Optimum()


@pytest.fixture(scope="module")
def modules() -> Iterator[SimpleNamespace]:
    """The backend's modules, imported on top of the made-up optimum."""
    runtime = ModuleType(f"{PACKAGE}.optimum_imports")
    vars(runtime).update(
        TasksManager=TasksManager,
        get_openvino_model_class=model_class,
        main_export=main_export,
        optimum_intel=OPTIMUM,
        ov=SimpleNamespace(Core=Core),
    )
    sys.modules[runtime.__name__] = runtime
    names = ("classes", "case", "exports", "backend")
    yield SimpleNamespace(**{n: importlib.import_module(f"{PACKAGE}.{n}") for n in names})
    for name in [n for n in sys.modules if n.startswith(PACKAGE)]:
        del sys.modules[name]


class SmallCase:
    """A case of one architecture, whose reference has every output that there is."""

    generation = None

    def __init__(self, architecture: str, head: str, *inputs: str, weight: bytes = b"2") -> None:
        self.entry = Entry("thing", "structured", architecture)
        self.head, self.weight = head, weight
        self._config = SimpleNamespace(model_type=architecture)
        self.given: list[Mapping[str, Any]] = []  # to the reference
        self._inputs = {name: np.ones((2, 3), dtype=np.int64) for name in inputs}

    def config(self) -> Any:
        return self._config

    def inputs(self, variant: str = "base") -> Arrays:
        return dict(self._inputs)

    def padding(self) -> int:
        return 7

    def reference(
        self, inputs: Mapping[str, Any], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        self.given.append(inputs)
        return {n: np.zeros(1) for n in ("last_hidden_state", "pooler_output", "logits")}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(self.weight)


@pytest.fixture
def optimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Optimum:
    """The made-up optimum, with a cache that is empty."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    OPTIMUM.asked.clear()
    OPTIMUM.refusal = ""
    return OPTIMUM


@pytest.fixture
def exports(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(modules.exports, "version", lambda name: "1.0")
    return modules.exports


def bert(weight: bytes = b"2") -> SmallCase:
    return SmallCase("bert", BASE, *TEXT, weight=weight)


# ---- which class


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (bert(), "OVModelForFeatureExtraction"),
        (SmallCase("vit", BASE, "pixel_values"), "OVModelForCustomTasks"),
        pytest.param(
            SmallCase("bert", BASE, "input_ids"), "OVModelForCustomTasks", id="text without a mask"
        ),
        (SmallCase("gpt2", "text-generation", *TEXT), "OVModelForCausalLM"),
        (SmallCase("bert", "text-classification", *TEXT), "OVModelForSequenceClassification"),
        (SmallCase("sam", BASE, "pixel_values"), "OVSamModel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_class_follows_from_head_architecture_and_arguments(
    modules: SimpleNamespace, case: SmallCase, name: str
) -> None:
    assert modules.classes.row_of(case.head, case.config(), case.inputs()).name == name


def test_a_head_without_a_class_is_refused_in_optimums_words(modules: SimpleNamespace) -> None:
    with pytest.raises(Unsupported, match="Task 'robotics' is not supported by OpenVINO"):
        modules.classes.row_of("robotics", SimpleNamespace(model_type="bert"), TEXT)


def test_the_table_names_heads_that_there_are(modules: SimpleNamespace) -> None:
    heads = {head for row in modules.classes.rows() for head in row.heads}
    assert heads <= {BASE, *known_heads()}


# ---- what is left of a case


def test_outputs_that_the_class_does_not_return_are_left_out(modules: SimpleNamespace) -> None:
    case = modules.case.OptimumCase(bert())
    assert case.reference({}).keys() == {"last_hidden_state"}
    image = modules.case.OptimumCase(SmallCase("vit", BASE, "pixel_values"))
    assert image.reference({}).keys() == {"last_hidden_state", "pooler_output"}


def test_an_argument_that_the_exporter_has_no_input_for_is_left_out(
    modules: SimpleNamespace,
) -> None:
    names = (*TEXT, "token_type_ids")
    kept = modules.case.OptimumCase(SmallCase("bert", BASE, *names)).inputs()
    assert set(kept) == set(names)
    kept = modules.case.OptimumCase(SmallCase("mpnet", BASE, *names)).inputs()
    assert set(kept) == set(TEXT)


def test_a_model_without_an_exporter_keeps_all_its_inputs_and_outputs(
    modules: SimpleNamespace,
) -> None:
    case = modules.case.OptimumCase(SmallCase("unheard_of", BASE, "pixel_values"))
    assert set(case.inputs()) == {"pixel_values"}
    assert {"pooler_output", "logits"} <= case.reference({}).keys()


def test_the_reference_counts_positions_as_optimums_class_does(modules: SimpleNamespace) -> None:
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    text = SmallCase("gpt2", "text-generation", *TEXT)
    given = text.given
    modules.case.OptimumCase(text).reference({"attention_mask": mask})
    assert given[0]["position_ids"].tolist() == [[1, 1, 0, 1], [0, 1, 2, 3]]

    encoder = bert()
    given = encoder.given
    modules.case.OptimumCase(encoder).reference({"attention_mask": mask})
    assert given[0].keys() == {"attention_mask"}


# ---- exported once


def test_what_was_exported_is_loaded_from_the_cache(
    modules: SimpleNamespace, optimum: Optimum, exports: Any, tmp_path: Path
) -> None:
    first = modules.backend.Backend({})
    case = bert()
    program = first.prepare(case, F32)
    assert (program.model.weight, program.origin) == (b"2", "exported")
    first.from_pretrained(tmp_path, case, F32)
    exported = [keywords for _, keywords in optimum.asked if keywords.get("export")]
    assert len(exported) == 1
    assert exported[0]["ov_config"]["INFERENCE_PRECISION_HINT"] == "f32"

    again = modules.backend.Backend({}).prepare(bert(), F32)
    assert (again.model.weight, again.origin) == (b"2", "IR from the cache")
    other = modules.backend.Backend({}).prepare(bert(b"3"), F32)
    assert (other.model.weight, other.origin) == (b"3", "exported")
    fresh = modules.backend.Backend({"cache": "off"}).prepare(bert(), F32)
    assert fresh.origin == "exported"


def test_a_second_case_of_one_backend_has_its_own_weights(
    modules: SimpleNamespace, optimum: Optimum, exports: Any
) -> None:
    backend = modules.backend.Backend({})
    cases = [bert(), bert(b"3")]
    weights = [backend.prepare(case, F32).model.weight for case in (*cases, *cases)]
    assert weights == [b"2", b"3", b"2", b"3"]


def test_the_key_says_what_is_exported_and_how(
    modules: SimpleNamespace, exports: Any, tmp_path: Path
) -> None:
    rows = {row.name: row for row in modules.classes.rows()}
    text, any_task = rows["OVModelForFeatureExtraction"], rows["OVModelForCustomTasks"]
    bert().save(tmp_path / "a")
    bert().save(tmp_path / "b")
    bert(b"3").save(tmp_path / "c")
    key = exports.key(tmp_path / "a", text)
    assert key == exports.key(tmp_path / "b", text)
    assert key not in (exports.key(tmp_path / "c", text), exports.key(tmp_path / "a", any_task))


def test_a_config_is_told_what_its_checkpoint_would_say(exports: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    case = SmallCase("llava", "image-text-to-text", "input_ids")
    case.inputs()["input_ids"][0, :2] = 9
    vars(case.config()).update(image_token_index=9, image_seq_length=576)
    config.write_text(json.dumps({"hidden_size": 4, "pad_token_id": None}))
    exports.complete(tmp_path, case)
    added = {"pad_token_id": 7, "image_seq_length": 2}
    assert json.loads(config.read_text()) == {"hidden_size": 4, **added}

    config.write_text(json.dumps({"pad_token_id": 3}))
    exports.complete(tmp_path, bert())
    assert json.loads(config.read_text()) == {"pad_token_id": 3}


@pytest.mark.parametrize(
    "words",
    [
        "Trying to export a bert model, that is a custom or unsupported architecture",
        "Asked to export a bert model for the task feature-extraction, but",
        "The current version of Transformers does not allow for the export of the model.",
        "The decoder part of the encoder-decoder model is bert which does not need past key values",
    ],
)
def test_a_refusal_is_unsupported_in_optimums_words(
    modules: SimpleNamespace, optimum: Optimum, exports: Any, words: str
) -> None:
    optimum.refusal = words
    with pytest.raises(Unsupported, match=words):
        modules.backend.Backend({}).prepare(bert(), F32)


def test_another_error_is_a_fault(modules: SimpleNamespace, optimum: Optimum, exports: Any) -> None:
    optimum.refusal = "too many values to unpack"
    with pytest.raises(ValueError, match="too many values"):
        modules.backend.Backend({}).prepare(bert(), F32)


def test_an_encoder_with_fewer_frames_is_traced_with_as_many(
    modules: SimpleNamespace, optimum: Optimum, exports: Any
) -> None:
    case = SmallCase("whisper", "automatic-speech-recognition", "input_features")
    case.config().max_source_positions = 64
    assert modules.backend.Backend({}).prepare(case, F32).model.weight == b"2"
    (asked, shapes), (name, _) = optimum.asked
    assert asked == "main_export automatic-speech-recognition-with-past"
    assert shapes["nb_max_frames"] == 128
    assert name == "OVModelForSpeechSeq2Seq"


def test_a_library_that_optimum_exports_otherwise(
    modules: SimpleNamespace, optimum: Optimum
) -> None:
    case = bert()
    case.entry = Entry("unet", "diffusion", "UNet2DModel", library="diffusers")
    with pytest.raises(Unsupported, match="whole pipelines"):
        modules.backend.Backend({}).prepare(case, F32)


def test_an_absent_device_says_which_there_are(modules: SimpleNamespace) -> None:
    with pytest.raises(Unavailable, match="on this machine, CPU, found NPU"):
        _ = modules.backend.Backend({"device": "npu"}).device
