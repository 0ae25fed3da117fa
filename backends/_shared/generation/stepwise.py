"""`generate()` of transformers, whose every call of a model's part runs a program of a backend."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from backends._shared.generation import caches, call_parts
from backends._shared.generation.step_case import (
    Recorded,
    StepCase,
    StepModule,
    arrays,
    output_name,
)
from harness.contract import (
    Array,
    Arrays,
    Case,
    CheckFailed,
    Generated,
    GenerationRequest,
    Generator,
    Program,
    Unsupported,
)
from harness.toolkit import greedy_generation

#: Settings of transformers' `generate()` for a cache of a fixed length.
STATIC: Mapping[str, Any] = {"cache_implementation": "static", "disable_compile": True}

#: Arguments of forward that are left to their defaults, all logits and outputs by name, so that one
#: graph serves all ways of `generate()`.
DEFAULTS = ("logits_to_keep", "return_dict")

#: The method of transformers 5 that makes a cache; a mask may be made for the cache before a call.
CACHE_MAKER = "_prepare_cache_for_generation"

#: Tokens that are generated where each is a graph of its own: the prompt's, and two by the cache.
GROWN_TOKENS = 3

#: Makes a program of a case.
Prepare = Callable[[Case], Program]

#: Runs one call of a part: its path in the model, and its arguments by name.
Run = Callable[[str, dict[str, Any]], Any]


def generator(case: Case, prepare: Prepare, *, static: bool) -> Generator:
    """Generation of a case on a backend that compiles.

    Args:
        case: that generates.
        prepare: as the backend prepares a case in the precision.
        static: whether a program takes the shapes alone that it was prepared for. The cache then
            has a fixed length, and other shapes than the plain text's are refused.
    """
    return StaticGenerator(case, prepare) if static else StepwiseGenerator(case, prepare)


@dataclass(frozen=True, slots=True)
class Step:
    """A program of one kind of call, and what such a call returns."""

    program: Program
    given: Mapping[str, Any]
    recorded: Recorded


class StepwiseGenerator:
    """`generate()` on programs that take any length; implements `harness.contract.Generator`.

    A program is made at the first call of its kind: the encoder, the prompt, one token behind a
    cache, several of them. Whatever part of the model `generate()` calls is a program of its own;
    what it computes between these calls is the host's.

    Args:
        case: that generates.
        prepare: as the backend prepares a case in the precision.
    """

    def __init__(self, case: Case, prepare: Prepare) -> None:
        assert case.generation is not None
        self.case = case
        self.how = case.generation
        self.prepare = prepare
        self.plain = case.module()
        self.model = self.hooked(self.run)
        greedy_generation.make_greedy(self.model, self.how)
        self.steps: dict[str, Step] = {}
        self.length = 0  # of a static cache, in tokens

    def __call__(self, request: GenerationRequest) -> Generated:
        """The text of a request.

        Raises:
            Unsupported: it asks for a cache of another kind.
            CheckFailed: a program ran on another device in part.
        """
        if "cache_implementation" in request.settings:
            raise Unsupported("its graphs take a cache that grows")
        return self.generated(request)

    def generated(self, request: GenerationRequest) -> Generated:
        """The text of a request, by the calls of `generate()`."""
        before = len(self.steps)
        with torch.no_grad():
            made = greedy_generation.generate(self.model, self.how, request, _tensors)
        if not self.steps:
            raise Unsupported("generate() calls no part of the model that could be a program")
        for step in list(self.steps.values())[before:]:
            _check_placement(step)
        return made

    def run(self, path: str, given: dict[str, Any]) -> Any:
        """One call of a part of the model, on the program of its kind."""
        self.adapt(given)
        tensors = call_parts.tensors_by_path(given)
        key = self.key(path, given)
        if key not in self.steps:
            self.steps[key] = self._step(key, path, given, tensors)
        step = self.steps[key]
        outputs = step.program(arrays(tensors))
        made = {
            name: torch.from_numpy(np.array(outputs[output_name(name)])).to(like.dtype)
            for name, like in step.recorded.computed.items()
        }
        for name, like in step.recorded.computed.items():
            made[name] = made[name] if like.ndim else made[name].reshape(())
        made |= {name: tensors[source] for name, source in step.recorded.through.items()}
        return call_parts.put_together(step.recorded.raw, made)

    def adapt(self, given: dict[str, Any]) -> None:
        """Let the caches among arguments keep all tokens, and one graph serve any count of logits.

        A window is the mask's to cut out; `generate()` takes the last logits where there are more.
        """
        for name in DEFAULTS:
            given.pop(name, None)
        self.adapt_caches(given)

    def adapt_caches(self, given: Mapping[str, Any]) -> None:
        """Let the caches among arguments keep all tokens, before a mask is made for them."""
        caches.without_windows(given, self.length)

    def hooked(self, run: Run) -> Any:
        """The model, each part of which that has a config of its own is called by a function."""
        from transformers import PreTrainedModel

        model = self.case.module()
        for path, part in model.named_modules():
            if isinstance(part, PreTrainedModel):
                part.forward = _called_through(part.forward, path, run)
                make = getattr(part, CACHE_MAKER, None)
                if make is not None:
                    setattr(part, CACHE_MAKER, _followed_by(make, self.adapt_caches))
        return model

    def key(self, path: str, given: Mapping[str, Any]) -> str:
        """The kind of a call: all in it but the tensors' values and lengths.

        Modeling code takes another path for one token than for several, which a trace keeps; the
        rows of a batch it treats alike.
        """
        tensors = call_parts.tensors_by_path(given)
        return f"{path} {call_parts.fingerprint(given)} {list(map(_rough_shape, tensors.values()))}"

    def other(self, key: str, base: Arrays) -> Arrays:
        """The tensors of another call of the same kind; here of the same one."""
        return base

    def _step(
        self, key: str, path: str, given: dict[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> Step:
        module = StepModule(self.plain.get_submodule(path), given).eval()
        recorded = module.record(tensors)
        base = arrays(tensors)
        case = StepCase(self.case, module, base, self.other(key, base))
        return Step(self.prepare(cast(Case, case)), given, recorded)


class StaticGenerator(StepwiseGenerator):
    """`generate()` on programs of fixed shapes, with a cache of a fixed length.

    A graph serves the prompt, and one each further token: where the token stands is an input. A
    model that takes no cache of a fixed length generates `GROWN_TOKENS`, each by a graph of its
    own.
    """

    def __init__(self, case: Case, prepare: Prepare) -> None:
        super().__init__(case, prepare)
        self.calls: dict[str, list[Arrays]] = {}  # eager ones on the other example, by kind
        self.settings: Mapping[str, Any] = STATIC
        self.prompts: Mapping[str, tuple[int, ...]] = {}  # the shapes of the first request
        self.tokens = 0
        self.begun = False  # whether the first text is there

    def __call__(self, request: GenerationRequest) -> Generated:
        """The text of a request.

        Raises:
            Unsupported: its calls would have other shapes than those of the first text.
            CheckFailed: a program ran on another device in part.
        """
        if request.follow is not None or request.assisted or {*request.settings} - {*STATIC}:
            raise Unsupported("its graphs have static shapes, and would be others in this way")
        if not self.prompts:
            self._begin(request)
        elif {name: array.shape for name, array in request.inputs.items()} != self.prompts:
            raise Unsupported("its graphs have static shapes, those of the first text")
        tokens = min(request.tokens, self.tokens)
        wanted = GenerationRequest(request.inputs, self.tokens, self.settings)
        made = self.generated(wanted)
        self.begun = True
        length = request.inputs[self.how.argument].shape[1] + tokens
        logits = None if made.logits is None else made.logits[:, :tokens]
        return Generated(made.sequences[:, :length], logits)

    def _begin(self, request: GenerationRequest) -> None:
        """Generate eagerly from other values, for a second example of each call."""
        self.prompts = {name: array.shape for name, array in request.inputs.items()}
        self.tokens = request.tokens
        self.length = self.prompts[self.how.argument][1] + self.tokens - 1  # the last is not read
        other = dict(request.inputs)
        for name, array in self.case.inputs("other").items():
            if name in other:  # a prompt is a text's beginning
                own = tuple(slice(0, size) for size in other[name].shape)
                other[name] = array[own] if array.ndim == other[name].ndim else other[name]
        if {name: array.shape for name, array in other.items()} != self.prompts:
            other = dict(request.inputs)
        try:
            self._generate_eagerly(other)
        except Exception:  # each library says in its own way that it takes no static cache
            self.settings = {}
            self.tokens = min(GROWN_TOKENS, self.tokens)
            self.calls.clear()
            self._generate_eagerly(other)

    def _generate_eagerly(self, inputs: Arrays) -> None:
        model = self.hooked(self._keep)
        greedy_generation.make_greedy(model, self.how)
        wanted = GenerationRequest(inputs, self.tokens, self.settings)
        with torch.no_grad():
            greedy_generation.generate(model, self.how, wanted, _tensors)

    def _keep(self, path: str, given: dict[str, Any]) -> Any:
        """One eager call, which is kept by its kind."""
        self.adapt(given)
        kept = arrays(call_parts.tensors_by_path(given))
        self.calls.setdefault(self.key(path, given), []).append(
            {name: array.copy() for name, array in kept.items()}
        )
        return self.plain.get_submodule(path)(**given)

    def key(self, path: str, given: Mapping[str, Any]) -> str:
        """The kind of a call: all in it but the tensors' values."""
        tensors = call_parts.tensors_by_path(given)
        shapes = [tuple(tensor.shape) for tensor in tensors.values()]
        return f"{path} {call_parts.fingerprint(given)} {shapes}"

    def run(self, path: str, given: dict[str, Any]) -> Any:
        """One call of a part of the model, on the program of its kind.

        Raises:
            Unsupported: it has none, and the first text is generated already.
        """
        self.adapt(given)
        if self.begun and self.key(path, given) not in self.steps:
            raise Unsupported("its graphs are those of the first text, and this takes another one")
        return super().run(path, given)

    def other(self, key: str, base: Arrays) -> Arrays:
        """The last eager call of the same kind; the same one, where there is none."""
        return self.calls.get(key, [base])[-1]


def _called_through(forward: Any, path: str, run: Run) -> Any:
    signature = inspect.signature(forward)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    @functools.wraps(forward)  # generate() reads its signature
    def called(*args: Any, **keywords: Any) -> Any:
        given = dict(signature.bind(*args, **keywords).arguments)
        given |= given.pop(rest, {})
        return run(path, given)

    return called


def _followed_by(make: Any, adapt: Callable[[Mapping[str, Any]], None]) -> Any:
    """The maker of caches of transformers 5, whose arguments are adapted then."""

    @functools.wraps(make)
    def made(generation_config: Any, model_kwargs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        found = make(generation_config, model_kwargs, *rest, **more)
        adapt(model_kwargs)
        return found

    return made


def _check_placement(step: Step) -> None:
    """Check that a program ran on its device.

    Raises:
        CheckFailed: a share of it did not.
    """
    placement = step.program.placement()
    if placement.device_share < 1.0:
        fault = "placement: expected all of generation on the device"
        raise CheckFailed(
            f"{fault}, found {placement.device_share:.0%} of a graph with the inputs "
            f"{', '.join(list(step.given)[:4])}: {dict(placement.fallback_ops)}",
            fault=fault,
        )


def _rough_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape with 2 for any larger size, and for the rows of a batch."""
    rough = [min(size, 2) for size in tensor.shape]
    return tuple([2, *rough[1:]] if len(rough) > 1 and rough[0] else rough)


def _tensors(inputs: Mapping[str, Array]) -> dict[str, Any]:
    return {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
