"""One architecture of a PyTorch library, built small from its own config class."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness import inputs as inputs_
from harness.catalog import checkpoints as checkpoints_
from harness.catalog import heads
from harness.catalog.exemptions import exempt_checks
from harness.catalog.requirements import unmet_requirements
from harness.contract import (
    BASE,
    Absent,
    Array,
    Arrays,
    Entry,
    Generated,
    Generation,
    GenerationRequest,
    PipelineCase,
    Unsupported,
)
from harness.inputs import ungiven
from harness.inputs.ungiven import Ungiven
from harness.models import (
    calibrate,
    damaged_cache,
    example_seeds,
    function_defaults,
    libraries,
    long_texts,
    own_generation,
    slices,
)
from harness.models import outputs as outputs_
from harness.models import weights as weights_
from harness.models.eager_reference import EagerReference, plain_choices, tensors
from harness.models.kept_references import KeptReferences
from harness.models.library_code import code_digest, code_labels
from harness.models.long_texts import LongText
from harness.models.module_copy import ModuleCopies
from harness.models.unset_weights import unset
from harness.toolkit.cache import Cache
from harness.toolkit.cpu_seed import seed_cpu
from harness.toolkit.signature import BATCHES, LENGTHS

BATCH, RESHAPED_BATCH = BATCHES
LENGTH, RESHAPED_LENGTH = LENGTHS

#: The arguments with a text and with a decoder's, and how many tokens of a long text are beyond.
TEXT, DECODER_TEXT, BEYOND = "input_ids", "decoder_input_ids", 5

#: The last stage of a small CNN is one pixel; fewer images than this say nothing about a spread.
CALIBRATION_BATCH = 8


class TinyCase:
    """Implements `harness.contract.Case` with PyTorch's eager execution as the reference.

    Args:
        entry: the row of the model list.
        seed: of weights and inputs.
        size: `tiny`; `wide` for the widths that the entry declares and few layers; or `full` for
            all sizes that it declares.
        head: `base` for the headless model, or one of the entry's heads.
        checkpoints: a folder with real weights, as `ORGANISATION/NAME` below it or as the hub's
            cache; the model then comes from there, in its own size.
        revision: the commit to take from a cache; empty for the one that the cache names.
        trusted: whether modeling code in the checkpoint may run.
        layers: of a wide model, how many it has of each kind by the labels of `slice`; 2 of those
            that are not named, and 4 of a stage.
        cache: where references are kept; None keeps none. Those of real weights never are.
        audited: whether kept references are computed again all the same, and must be alike.
        generates_headless: whether a model that stands for that of its entry's task generates.
    """

    def __init__(
        self,
        entry: Entry,
        seed: int = 0,
        size: str = "tiny",
        head: str = BASE,
        checkpoints: Path | None = None,
        revision: str = "",
        trusted: bool = False,
        layers: Mapping[str, int] | None = None,
        cache: Cache | None = None,
        audited: bool = False,
        generates_headless: bool = True,
    ) -> None:
        self._generates_headless = generates_headless
        self._layers = dict(layers or {})
        self.checkpoints = checkpoints
        self.revision = revision
        self.trusted = trusted
        self.entry = entry
        self.seed = seed
        self.example_seed = seed + example_seeds.offset(entry.architecture)
        self.size = size
        self.head = head
        self.has_float64 = True  # whether there is memory for a reference in float64
        self._examples: dict[str, Arrays] = {}
        self.kept: KeptReferences | None = None  # what the reference gave before
        if cache is not None and checkpoints is None:
            # One inference of a large model is worth an entry of its own, whatever ends the cell.
            together = not self._is_large
            self.kept = KeptReferences(cache, self._identity, audited=audited, together=together)

    def _identity(self) -> Mapping[str, object]:
        """The facts that every reference of this case follows from, beside packages and machine."""
        return {
            "library": self.entry.library,
            "architecture": self.entry.architecture,
            "config": self.entry.config,
            "head": self.head,
            "size": self.size,
            "seed": self.seed,
            "layers": self._layers,
            "code": code_digest(self._template),
        }

    @cached_property
    def _library(self) -> libraries.Library:
        unmet = unmet_requirements(self.entry)
        if unmet:
            raise Absent(unmet)
        library = libraries.library(self.entry.library)
        if self.head != BASE and not library.has_heads:
            raise Absent(f"{self.entry.library} has no class for {self.head}: drop it from `heads`")
        return library

    @cached_property
    def _checkpoint(self) -> Path | None:
        """The folder of the entry's real weights, where they were asked for."""
        if self.checkpoints is None:
            return None
        wanted = self.entry.checkpoint
        folder = checkpoints_.find(self.checkpoints, wanted, self.revision) if wanted else None
        if folder is None:
            wanted = wanted or "a checkpoint: the entry names none"
            raise Absent(f"requires {wanted}, not in {self.checkpoints}")
        return folder

    @cached_property
    def _config(self) -> Any:
        if self._checkpoint is not None:
            return self._template.config
        if self.size == "wide":
            return self.slice.config
        return self._library.config(
            self.entry.architecture, self.entry.config, self.size, self.head
        )

    @cached_property
    def slice(self) -> slices.Slice:
        """The layers of the wide model beside those of the whole.

        Raises:
            HarnessError: layers of a kind were asked for that the model has not.
        """
        wanted = slices.chosen_layers(self._layers)
        found = self._library.sliced(self.entry.architecture, self.entry.config, self.head, wanted)
        slices.check_labels(self._layers, found)
        return found

    @cached_property
    def _template(self) -> Any:
        """The model itself; handed out as copies only."""
        import torch

        if self._checkpoint is not None:
            found = self._library.pretrained(
                self.entry.architecture, self.head, self._checkpoint, trusted=self.trusted
            )
            return found.requires_grad_(False).eval()
        seed_cpu(self.seed)
        skipped: set[int] = set()
        leaving_out = unset(skipped) if self._is_large else nullcontext()
        # What is derived from parameters has no history, and can be copied.
        with torch.no_grad(), leaving_out:
            module = self._library.module(self.entry.architecture, self._config, self.head)
        if self.size == "tiny":
            function_defaults.cap(module)
        module.requires_grad_(False)
        weights_.fill(module, self.seed, skipped)
        module.eval()  # after the weights: some attention keeps a copy of its biases from here on
        if calibrate.needs_calibration(module):
            given = self._example(module, "calibration", CALIBRATION_BATCH, LENGTH, self.seed)
            options = self._options_of(module)
            calibrate.calibrate(module, tensors(given, torch.float32), options)
        return module

    @cached_property
    def _recipe(self) -> inputs_.Recipe:
        return inputs_.recipe_of(self._config, self.model_name)

    @property
    def seeded(self) -> bool:
        """Whether forward draws random numbers; its recipe says so."""
        return self._recipe.seeded

    @property
    def model_name(self) -> str:
        """The name of the model's class."""
        return type(self._template).__name__

    def config(self) -> Any:
        """The small config object."""
        return self._config

    def module(self) -> Any:
        """A fresh float32 model in evaluation mode, with seeded weights.

        One of a published size shares the memory of its weights with the reference: there is no
        room for two.
        """
        return self._copies.shared() if self._is_large else self._copies.copy()

    @cached_property
    def _copies(self) -> ModuleCopies:
        return ModuleCopies(self._template)

    @property
    def _is_large(self) -> bool:
        return self.size != "tiny" and self.checkpoints is None

    def code_labels(self) -> list[str]:
        """The files of the library that hold the model's code, by label."""
        return code_labels(self._template)

    def release(self) -> None:
        """Drop what only the reference needs, where memory is short; it is made again on demand."""
        self._eager.release()

    def parameters(self) -> int:
        """How many parameters the small model has, tied ones once."""
        return weights_.parameter_count(self._template)

    def inputs(self, variant: str = "base") -> Arrays:
        """Example inputs; see `harness.contract.Case.inputs`."""
        if variant not in self._examples:
            self._examples[variant] = (
                self._reshaped()
                if variant == "reshaped"
                else self._example(self._template, variant, BATCH, LENGTH, self.example_seed)
            )
        return dict(self._examples[variant])

    def with_layers(self, layers: Mapping[str, int]) -> TinyCase:
        """A wide model of other depths, built anew; the rest is as in this case.

        Args:
            layers: of each kind, by the labels of `slice`.
        """
        return TinyCase(self.entry, self.seed, self.size, self.head, layers=layers)

    def with_examples_of(self, seed: int) -> TinyCase:
        """The same model with example inputs of another seed."""
        _ = self._eager  # one for both: its modules are slow to make
        other = copy.copy(self)
        other.example_seed, other._examples = seed, {}
        return other

    def wrapped(
        self,
        module: Any,
        examples: Mapping[str, Arrays] | None = None,
    ) -> TinyCase:
        """A case of another module: the model in a wrapper, or a part of the model.

        Args:
            module: a float32 `torch.nn.Module` in evaluation mode, whose forward returns tensors by
                name; it is kept as it is, and handed out as copies.
            examples: the part's own inputs by variant, it then takes no options; None where the
                wrapper takes the model's inputs and options.
        """
        other = copy.copy(self)
        own = vars(other)
        own["_recipe"], own["_config"] = self._recipe, self._config
        own["_options"] = self._options if examples is None else {}
        for name in ("_eager", "_copies"):
            own.pop(name, None)
        own["kept"] = None
        own["_template"], own["generation"] = module, None
        other._examples = dict(self._examples if examples is None else examples)
        return other

    def long_texts(self) -> Iterator[LongText]:
        """Texts of one row that leave each declared window, or reach the last place of a text.

        None of them where the config class declares neither, or the model reads no text. The places
        of an encoder-decoder are those of what its decoder has written.
        """
        examples = self.inputs()
        window = long_texts.longest_declared(self._config)
        if window and TEXT in examples:
            usual = self._one_row(RESHAPED_LENGTH)
            claim = "leave each window that the config class declares"
            yield LongText(claim, self._one_row(window + BEYOND), usual, usual)
        of_decoder = DECODER_TEXT in examples
        fields = long_texts.DECODER_PLACES if of_decoder else long_texts.PLACES
        places = long_texts.places(self._config, fields)
        if places is None or places > long_texts.LONGEST or not {TEXT, DECODER_TEXT} & {*examples}:
            return
        row = self._one_decoders_row if of_decoder else self._one_row
        claim = f"fill the {places} places of its config, beyond which it reads too"
        yield LongText(
            claim,
            row(places - 1),
            usual=row(RESHAPED_LENGTH),
            control=row(places + BEYOND),
            only_generated=True,
            of_decoder=of_decoder,
        )

    def _one_row(self, length: int) -> Arrays:
        """A text of so many tokens, those of an image or a sound among them where it has any."""
        made = self._example(self._template, "long", 1, length, self.example_seed)
        more = made[TEXT].shape[1] - length
        if 0 < more < length:
            made = self._example(self._template, "long", 1, length - more, self.example_seed)
        found = made[TEXT].shape[1]
        if found < length:
            raise Unsupported(f"its text has {found} tokens, whatever length is asked for")
        return made

    def _one_decoders_row(self, length: int) -> Arrays:
        """An example whose decoder has so many tokens."""
        usual, long = (
            self._example(self._template, "long", 1, asked, self.example_seed)
            for asked in (RESHAPED_LENGTH, 2 * length)  # a decoder's text is half as long
        )
        made = {name: long.get(name, a) if name.startswith("decoder_") else a
                for name, a in usual.items()}  # fmt: skip
        if made[DECODER_TEXT].shape != (1, length):
            raise Unsupported(f"its decoder's text has the shape {made[DECODER_TEXT].shape}")
        return made

    def preferred(self, inputs: Mapping[str, Array]) -> Arrays:
        """Outputs in float32 with the attention that the library prefers, fused where there is one.

        A text of thousands of tokens takes a fraction of the memory of `reference` so.
        """
        return self._outputs(lambda: self._preferred(inputs), inputs, preferred=True)

    def _preferred(self, inputs: Mapping[str, Array]) -> Arrays:
        import torch

        seed_cpu(0)
        with torch.no_grad():
            raw = self.module()(**tensors(inputs, torch.float32), **self.options())
        return self.outputs(raw)

    def _reshaped(self) -> Arrays:
        batch, length = RESHAPED_BATCH, RESHAPED_LENGTH
        try:
            return self._example(self._template, "reshaped", batch, length, self.example_seed)
        except Exception as error:
            raise Unsupported(f"takes no other batch or length: {error}") from error

    def padding(self) -> int:
        """The config's own padding id, unless it has come to mean something else in its text."""
        token = inputs_.padding_id(self._config)
        used = self.inputs().get("input_ids", np.zeros(0))
        # A small vocabulary may have given padding the id of an image's placeholder.
        return next(i for i in itertools.chain([token], itertools.count()) if i not in used)

    def _example(self, module: Any, variant: str, batch: int, length: int, seed: int) -> Arrays:
        return self._library.inputs(
            module, self._config, seed=seed, variant=variant, batch=batch, length=length
        )

    def options(self) -> Mapping[str, Any]:
        """Arguments of forward that are no arrays: no cache, outputs by name."""
        return self._options

    @cached_property
    def _options(self) -> Mapping[str, Any]:
        return self._options_of(self._template)

    def _options_of(self, module: Any) -> Mapping[str, Any]:
        accepted = inspect.signature(module.forward).parameters
        plain = {"use_cache": False, "return_dict": True}
        recipe = inputs_.recipe_of(self._config, type(module).__name__)
        return {**{k: v for k, v in plain.items() if k in accepted}, **recipe.arguments}

    def ungiven(self, outputs: Arrays) -> Sequence[Ungiven]:
        """Arguments of forward that no example has, with values to try, each by itself.

        Args:
            outputs: on the plain inputs; without them, some masks are left out.
        """
        forward, models = self._template.forward, (self.model_name, self.entry.architecture)
        return list(ungiven.values(forward, self.inputs(), outputs, self.options(), *models))

    def reference_with(
        self, inputs: Mapping[str, Array], further: Ungiven, dtype: str = "float64"
    ) -> Arrays:
        """The reference on some inputs and one further argument, in a dtype."""
        given, value = {n: a for n, a in inputs.items() if n not in further.without}, further.value
        options = {}
        if isinstance(value, np.ndarray):
            given[further.name] = value
        else:
            options[further.name] = value
        return self._outputs(
            lambda: self._eager.outputs(given, dtype, 0, options),
            given,
            dtype=dtype,
            further=str(further),
        )

    def outputs(self, raw: Any) -> Arrays:
        """Named host arrays of what a module's forward returned."""
        return outputs_.flatten(raw)

    def tensors(self, raw: Any) -> Mapping[str, Any]:
        """The same by the same names as torch tensors, for a trace to follow."""
        return outputs_.tensors(raw)

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """Outputs of plain eager execution on the CPU in a dtype.

        Raises:
            What the modeling code raises; dtypes written into it refuse float64, for instance.
        """
        if dtype == "float64" and not self.has_float64:
            raise Unsupported("has no float64 reference: it needs more memory than there is")
        if dtype == "float64" != self._recipe.reference:
            raise Unsupported(f"has no float64 reference: {self._recipe.reason}")
        return self._outputs(
            lambda: self._eager.outputs(inputs, dtype, seed), inputs, dtype=dtype, seed=seed
        )

    def _outputs(
        self, make: Callable[[], Arrays], inputs: Mapping[str, Array], **parts: object
    ) -> Arrays:
        """Outputs that are kept, or made now."""
        return make() if self.kept is None else self.kept.outputs(make, inputs, **parts)

    @cached_property
    def _eager(self) -> EagerReference:
        return self._eager_of(self._copies)

    def _eager_of(self, copies: ModuleCopies) -> EagerReference:
        attention = self._recipe.plain_attention
        return EagerReference(copies, self.options(), attention, self.seed, sparing=self._is_large)

    def with_weights(self, module: Any) -> EagerReference:
        """The reference of the same model with other weights, which a module holds."""
        return self._eager_of(ModuleCopies(module))

    def plain_choices(self) -> Mapping[str, str]:
        """The reference's choices of plain arithmetic, by the setter of a model that has it."""
        return plain_choices(self._recipe.plain_attention)

    def weights(self) -> Sequence[str]:
        """The matrices of the model; see `EagerReference.weights`."""
        return self._eager.weights()

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        """The reference with noise on one weight, `scale` times that weight's own RMS."""
        return self._outputs(
            lambda: self._eager.perturbed(inputs, weight, scale, dtype),
            inputs,
            dtype=dtype,
            perturbed=weight,
            scale=scale,
        )

    def jittered(self, inputs: Mapping[str, Array], dtype: str, times: float = 1.0) -> Arrays:
        """Outputs after every weight moved by roundings; see `EagerReference.jittered`."""
        return self._outputs(
            lambda: self._eager.jittered(inputs, dtype, times),
            inputs,
            dtype=dtype,
            jittered=times,
        )

    @cached_property
    def _spared(self) -> Mapping[str, str]:
        return exempt_checks(self.entry.architecture, self.head)

    @cached_property
    def generation(self) -> Generation | None:
        """How `generate()` goes on, where the head's row and the model's class say that it can.

        An entry without heads has a model that stands for that of its task, as Llama 4's.
        """
        stands = self.head == BASE and not self.entry.heads and self._generates_headless
        task = self.entry.task if stands else self.head
        row = heads.known_heads().get(task)
        if row is None or not row.generates or "generate" in self._spared:
            return None
        # Some models of a task that goes on with its text have an encoder for it.
        wanted = row.generates
        argument = f"decoder_{wanted}" if f"decoder_{wanted}" in self.inputs() else wanted
        able = getattr(self._template, "can_generate", None)
        if argument not in self.inputs() or able is None or not able():
            return None
        suppressed = self._library.placeholders(self._template, self._config)
        return Generation(argument, suppressed, self._recipe.generated)

    def with_damaged_cache(
        self, request: GenerationRequest, damage: str | None
    ) -> Generated | None:
        """Generation with a cache that is damaged before each step.

        Args:
            request: the text to generate, and the way.
            damage: one of `harness.models.damaged_cache.DAMAGES`; None for none.

        Returns:
            None where no inference was given a cache that the damage can touch.
        """
        how = self.generation
        if how is None:
            return None

        def generated() -> Arrays:
            made = damaged_cache.generate(self.module(), how, request, damage, self.seed)
            return {} if made is None else made.arrays()

        if request.settings or request.follow is not None or request.assisted:
            found = generated()  # in a way that no check of the library takes
        else:
            found = self._outputs(
                generated, request.inputs, tokens=request.tokens, damage=damage, how=repr(how)
            )
        return Generated(found["sequences"], found.get("logits")) if found else None

    def own_answer(
        self,
        inputs: Arrays,
        settings: Mapping[str, Any],
        *,
        dtype: str = "float32",
        seed: int = 0,
    ) -> Arrays | None:
        """Answer of the class's own `generate()`; see `harness.models.own_generation`.

        Args:
            inputs: by argument of forward.
            settings: further keyword arguments of `generate()`.
            dtype: float32 or float64.
            seed: of what is drawn at random.

        Returns:
            None where the class has none, or where `generation` says how each token is judged.
        """
        if self.generation is not None or not own_generation.generates(type(self._template)):
            return None

        def made() -> Arrays:
            module = own_generation.in_dtype(self.module(), dtype)
            return own_generation.answer(module, inputs, seed, settings)

        own = {name: repr(value) for name, value in settings.items()}
        return self._outputs(made, inputs, own_answer=dtype, seed=seed, settings=own)

    def pipeline(self) -> PipelineCase | None:
        """Raw input for `transformers.pipeline`; None where this model has no pipeline."""
        asked = self._library.pipeline(self.entry.architecture, self.head, self.inputs(), self.seed)
        if asked is None or f"pipeline:{asked.task}" in self._spared:
            return None
        if self.generation is not None and self.generation.suppressed and asked.settings:
            # A token of padding that a RoBERTa writes has no position: with its cache it has one.
            suppressed = {"suppress_tokens": list(self.generation.suppressed)}
            return replace(asked, arguments={**asked.arguments, **suppressed})
        return asked

    def save(self, folder: Path) -> None:
        """`save_pretrained` of the small model.

        Raises:
            Unsupported: the library's models have no `save_pretrained`.
        """
        save = getattr(self.module(), "save_pretrained", None)
        if save is None:
            raise Unsupported(f"{self.entry.library} models have no save_pretrained")
        save(folder)
