"""Denoising loops, and the small models of diffusers and of PyTorch Geometric."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.catalog import backends, model_lists
from harness.cell import stages
from harness.cell.request import Job
from harness.checks import families
from harness.checks.families import diffusion
from harness.contract import Array, Arrays, Cell, CheckFailed, Outcome, Stage
from harness.inputs import denoiser
from harness.models import from_diffusers, from_torch_geometric
from harness.toolkit import checkout

LATENTS = (2, 4, 8, 8)


def denoiser_inputs(seed: int, time: Array, **more: tuple[int, ...]) -> Arrays:
    random = np.random.default_rng(seed)
    shapes = {"sample": LATENTS, "encoder_hidden_states": (2, 5, 3), **more}
    made = {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    return {**made, "timestep": time}


def predict(inputs: Mapping[str, Array]) -> Arrays:
    """A denoiser to which everything counts."""
    text = inputs["encoder_hidden_states"].mean((1, 2)).reshape(-1, 1, 1, 1)
    time = np.cos(inputs["timestep"].astype(np.float64) / 100).reshape(-1, 1, 1, 1)
    return {"sample": np.tanh(inputs["sample"] + text + time)}


def loop(base: Arrays, other: Arrays, model: Any = predict) -> families.Loop:
    found = families.loop("diffusion", base, other, model(base))
    assert found is not None
    return found


WHOLE = np.array([321, 654])
SHARES = np.array([0.5, 0.25], dtype=np.float32)


SIGNAL = np.random.default_rng(9).standard_normal(LATENTS)


def truth(inputs: Arrays) -> Arrays:
    """A denoiser that knows the one signal under all noise."""
    now, x = inputs["timestep"][0], inputs["sample"].astype(np.float64)
    if np.issubdtype(inputs["timestep"].dtype, np.floating):
        return {"sample": (x - SIGNAL) / now}
    kept = diffusion._kept(now)
    return {"sample": (x - np.sqrt(kept) * SIGNAL) / np.sqrt(1 - kept)}


@pytest.mark.parametrize("time", [WHOLE, SHARES], ids=["ddim", "flow"])
def test_true_predictions_lead_back_to_the_signal(time: Array) -> None:
    base = denoiser_inputs(1, time)
    found = loop(base, denoiser_inputs(2, time), truth)
    np.testing.assert_allclose(found.run(truth, base)["denoised"], SIGNAL, rtol=0, atol=1e-6)
    with pytest.raises(CheckFailed, match="the noise to change where the loop ends"):
        found.reference(truth)


@pytest.mark.parametrize("time", [WHOLE, SHARES], ids=["ddim", "flow"])
def test_the_steps_are_those_of_diffusers_schedulers(time: Array) -> None:
    schedulers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    if time is SHARES:
        scheduler = schedulers.FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=list(diffusion.SHARES[:-1]))
        scale = 1000.0
    else:
        scheduler = schedulers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        )
        scheduler.set_timesteps(len(diffusion.STEPS))
        scale = 1.0
    base = denoiser_inputs(1, time)
    x = torch.from_numpy(base["sample"]).double()
    for now in scheduler.timesteps:
        times = np.full(2, float(now) / scale).astype(time.dtype)
        answer = predict({**base, "sample": x.numpy(), "timestep": times})
        x = scheduler.step(torch.from_numpy(answer["sample"]), now, x).prev_sample
    ended = loop(base, denoiser_inputs(2, time)).run(predict, base)
    np.testing.assert_allclose(ended["denoised"], x.numpy(), rtol=1e-5, atol=1e-5)


def test_a_flow_may_count_time_in_thousandths() -> None:
    asked: list[float] = []

    def model(inputs: Arrays) -> Arrays:
        asked.extend(inputs["timestep"].tolist())
        return predict(inputs)

    time = np.array([500.0, 250.0], dtype=np.float32)
    base = denoiser_inputs(1, time)
    loop(base, denoiser_inputs(2, time)).run(model, base)
    assert asked == [1000, 1000, 500, 500, 250, 250]


def test_the_condition_may_stand_beside_the_noise() -> None:
    base = denoiser_inputs(1, WHOLE, sample=(2, 3, 6, 8, 8))  # frames, noise and an image

    def model(inputs: Arrays) -> Arrays:
        x = inputs["sample"]
        return {"sample": np.tanh(x[:, :, :4] + x[:, :, 4:].mean())}

    found = loop(base, denoiser_inputs(2, WHOLE, sample=(2, 3, 6, 8, 8)), model)
    assert found.run(model, base)["denoised"].shape == (2, 3, 4, 8, 8)


def test_a_variance_beside_the_prediction_is_no_noise() -> None:
    base, other = denoiser_inputs(1, WHOLE), denoiser_inputs(2, WHOLE)

    def learned(inputs: Arrays) -> Arrays:
        noise = predict(inputs)["sample"]
        return {"sample": np.concatenate([noise, 9 * noise], axis=1)}

    np.testing.assert_array_equal(
        loop(base, other, learned).run(learned, base)["denoised"],
        loop(base, other).run(predict, base)["denoised"],
    )


def test_what_predicts_no_noise_is_in_no_loop() -> None:
    base, other = denoiser_inputs(1, WHOLE), denoiser_inputs(2, WHOLE)
    residuals = {"mid": np.ones((2, 16, 2, 2)), "down": np.ones((2, 16, 8, 8))}
    assert families.loop("diffusion", base, other, residuals) is None
    image = {"sample": base["sample"]}
    assert families.loop("diffusion", image, image, image) is None
    assert families.loop("vision", base, other, predict(base)) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: predict({**x, "encoder_hidden_states": np.ones((2, 5, 3))}), "the condition"),
        (lambda x: {"sample": x["sample"] * np.inf}, "finite"),
    ],
    ids=["deaf", "overflow"],
)
def test_a_loop_must_depend_on_its_start(model: Any, message: str) -> None:
    with pytest.raises(CheckFailed, match=message), np.errstate(all="ignore"):
        loop(denoiser_inputs(1, WHOLE), denoiser_inputs(2, WHOLE), model).reference(model)


def test_a_backend_that_is_wrong_at_other_times_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model_lists.load(checkout.ROOT).entries["stable_diffusion"]
    spec = backends.find("mock")
    job = Job(Cell(entry, "mock"), 0, "tiny", spec.folder.parent)
    backend = type(backends.load(spec, {}))
    assert stages.run(job, lambda *_: None).outcome is Outcome.PASS
    prepare = backend.prepare

    def late(self: Any, case: Any, precision: Any) -> Any:
        right = prepare(self, case, precision)

        class Program:
            placement = staticmethod(right.placement)

            def __call__(self, inputs: Arrays) -> Arrays:
                error = 1.001 if inputs["timestep"].min() >= 500 else 1.0
                return {name: array * error for name, array in right(inputs).items()}

        return Program()

    monkeypatch.setattr(backend, "prepare", late)
    result = stages.run(job, lambda *_: None)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert "'denoising'" in result.reason


# -- small models of diffusers -------------------------------------------------------------------


def test_proportions_stay() -> None:
    sdxl = {
        "block_out_channels": [320, 640, 1280],
        "attention_head_dim": [5, 10, 20],
        "num_attention_heads": None,
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": [[None, 768, 1024]],
        "act_fn": "silu",
        "use_linear_projection": True,
    }
    assert from_diffusers.tiny(sdxl) == {
        "block_out_channels": [8, 16, 32],
        "attention_head_dim": [1, 2, 4],
        "num_attention_heads": None,
        "transformer_layers_per_block": (1, 2, 2),
        "cross_attention_dim": [[None, 64, 64]],
        "act_fn": "silu",
        "use_linear_projection": True,
    }


def test_a_head_keeps_its_width_where_heads_are_counted() -> None:
    assert from_diffusers.tiny({"attention_head_dim": 72, "num_attention_heads": 16}) == {
        "attention_head_dim": 16,
        "num_attention_heads": 4,
    }
    assert from_diffusers.tiny({"attention_head_dim": 8}) == {"attention_head_dim": 4}


def test_sections_of_a_head_sum_to_the_small_one() -> None:
    small = from_diffusers.tiny({"axes_dims_rope": (16, 56, 56), "attention_head_dim": 128})
    assert sum(small["axes_dims_rope"]) == 16
    assert all(part % 2 == 0 for part in small["axes_dims_rope"])


def test_some_layer_keeps_what_some_layers_have() -> None:
    small = from_diffusers.tiny({"num_layers": 24, "dual_attention_layers": (0, 1, 2, 3)})
    assert small == {"num_layers": 2, "dual_attention_layers": (0,)}
    assert from_diffusers.tiny({"dual_attention_layers": ()}) == {"dual_attention_layers": ()}


def test_every_override_has_its_reason() -> None:
    tables = from_diffusers.tables()
    assert all(override.reason for override in tables.overrides.values())
    assert {override.time for override in tables.overrides.values()} <= set(denoiser.TIMES)
    assert {rule.kind for rule in tables.rules} <= from_diffusers._KINDS.keys()


class Denoiser:
    """A model with a dictionary among its arguments."""

    def forward(
        self,
        sample: Any,
        timestep: Any,
        encoder_hidden_states: Any,
        controlnet_cond: Any,
        added_cond_kwargs: Any = None,
    ) -> Any:
        """Forward.

        Args:
            sample (`torch.Tensor`):
                The noise with the following shape `(batch, num_frames, channel, height, width)`.
            timestep (`torch.Tensor`): Of shape `(batch_size, )`.
        """
        return sample, timestep, encoder_hidden_states, controlnet_cond, added_cond_kwargs


def test_keys_of_a_dictionary_become_arguments() -> None:
    nested = {"added_cond_kwargs": ("text_embeds", "time_ids")}
    flat = type("Flat", (Denoiser,), {"forward": from_diffusers._flat_forward(Denoiser, nested)})
    assert list(inspect.signature(flat().forward).parameters) == [
        *("sample", "timestep", "encoder_hidden_states", "controlnet_cond"),
        *("text_embeds", "time_ids"),
    ]
    assert flat().forward(1, 2, controlnet_cond=4, encoder_hidden_states=3) == (1, 2, 3, 4, None)
    assert flat().forward(1, 2, 3, 4, time_ids=5) == (1, 2, 3, 4, {"time_ids": 5})


def test_an_image_may_stand_in_the_place_of_the_text() -> None:
    nested = {"added_cond_kwargs": ("image_embeds",)}
    flat = type("Flat", (Denoiser,), {"forward": from_diffusers._flat_forward(Denoiser, nested)})
    given = flat().forward(1, timestep=2, controlnet_cond=4, image_embeds=5)
    assert given == (1, 2, None, 4, {"image_embeds": 5})
    inspect.signature(flat().forward).bind(1, timestep=2, image_embeds=5)


def test_the_docstring_says_the_layout() -> None:
    config = SimpleNamespace(
        model_type="Denoiser",
        in_channels=6,
        sample_size=8,
        cross_attention_dim=12,
        conditioning_channels=3,
        conditioning_embedding_out_channels=(4, 8, 16),
    )
    maker = denoiser.DenoiserInputs(Denoiser(), config, 0, "base", 3, 7)
    made = maker.make()
    assert made["sample"].shape == (3, 2, 6, 8, 8)
    assert made["encoder_hidden_states"].shape == (3, 7, 12)
    assert made["controlnet_cond"].shape == (3, 3, 32, 32)
    assert made["timestep"].dtype == np.int64


def test_an_unknown_argument_is_named() -> None:
    class Further(Denoiser):
        def forward(self, sample: Any, gloss: Any) -> Any:  # type: ignore[override]
            return sample

    config = SimpleNamespace(model_type="Further", in_channels=4)
    with pytest.raises(LookupError, match=r"Further\.forward requires 'gloss'"):
        denoiser.DenoiserInputs(Further(), config, 0, "base", 2, 7).make()


def test_times_of_a_flow_are_exact_in_half_precision() -> None:
    for name in ("unit", "thousandths"):
        maker = denoiser.DenoiserInputs(None, SimpleNamespace(), 0, "base", 64, 7, time=name)
        time = denoiser.TIMES[name](maker)
        assert time.dtype == np.float32
        bits = np.ascontiguousarray(time).view(np.uint32)
        assert not (bits & 0xFFFF).any()  # bfloat16 is the upper half of float32


# -- small models of PyTorch Geometric ----------------------------------------------------------


def test_edges_stay_within_their_graph() -> None:
    library = from_torch_geometric.LIBRARY
    config = library.config("GraphSAGE", {"in_channels": 602, "num_layers": 1}, "tiny")
    assert (config.in_channels, config.num_layers) == (16, 1)
    made = library.inputs(None, config, seed=0, variant="base", batch=3, length=22)
    sources, targets = made["edge_index"]
    assert made["x"].shape == (66, 16)
    assert (sources // 22 == targets // 22).all()
    assert set(targets) == set(range(66))
    assert set(sources) == set(range(66))
