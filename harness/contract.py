"""The contract between the harness and a backend: types, protocols, and its version.

Imports the standard library and numpy only, so that a backend can import it in any environment.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

#: Version of this contract. It grows by one where a backend that kept the last one may break.
VERSION = 1

Array = NDArray[Any]
Arrays = dict[str, Array]

Priority = Literal["critical", "high", "medium", "low"]
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "medium", "low")

FAMILIES: tuple[str, ...] = (
    "encoder-only",
    "decoder-only",
    "encoder-decoder",
    "vision",
    "vision-encoder-text-decoder",
    "speech",
    "multimodal",
    "diffusion",
    "mixture-of-experts",
    "state-space",
    "rag",
    "time-series",
    "structured",
)


#: Variants of a case's inputs that have other shapes than the plain ones.
RESHAPED = "reshaped"
SIZES = ("odd-size", "other-size")  # of an image; the first that a model takes

#: Media whose masks say what of a row is padding. `whole-sound` has the plain shapes and all masks
#: that the model takes of sound, `short-sound` a shorter recording, and `hidden-sound` the plain
#: shapes with the end of each recording masked, as of models for one length; so for the others.
MASKED_MEDIA = ("sound", "image", "condition")
WHOLE, SHORT, HIDDEN = "whole-", "short-", "hidden-"


#: Inputs with further arguments that processors send and a plain call leaves out; the second has a
#: video too.
PROCESSED, WITH_VIDEO = "processed", "with-video"


#: The dtypes that a precision may compute in: those with a noise floor.
DTYPES: tuple[str, ...] = (
    "float64",
    "float32",
    "tfloat32",
    "conv-tfloat32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int8",
    "int4",
    "mxfp4",
)


class Stage(enum.StrEnum):
    """Where a cell stands, in the order in which a cell passes through them."""

    BUILD = "build"
    INPUTS = "inputs"
    REFERENCE = "reference"
    PREPARE = "prepare"
    RUN = "run"
    VERIFY = "verify"
    GENERATE = "generate"
    PIPELINE = "pipeline"
    ROUNDTRIP = "roundtrip"
    MEASURE = "measure"


#: A failure in these is the library's fault or ours, never the backend's.
OURS: frozenset[Stage] = frozenset({Stage.BUILD, Stage.INPUTS, Stage.REFERENCE})


class Outcome(enum.StrEnum):
    """The outcome of a cell. Only `PASS` counts as passing."""

    PASS = "pass"
    FAIL = "fail"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OOM = "oom"
    TOO_LARGE = "too-large"  # nothing was allocated: the model and its reference need more memory
    FLAKY = "flaky"  # passed and failed in one session, run again by `--repeat`
    UNSUPPORTED = "unsupported"
    LIBRARY = "library"  # the modeling code computes something else than its architecture says
    UNTESTED = "untested"
    ABSENT = "absent"
    INCONCLUSIVE = "inconclusive"


class Verdict(enum.StrEnum):
    """An outcome held against its expectation. Only `OK` and `XFAIL` are green."""

    OK = "ok"
    XFAIL = "xfail"
    REGRESSED = "regressed"
    CHANGED = "changed"
    IMPROVED = "improved"
    NEW = "new"
    FLAKY = "flaky"


GREEN: frozenset[Verdict] = frozenset({Verdict.OK, Verdict.XFAIL})


class Unavailable(Exception):
    """The backend's hardware or software is missing on this machine.

    Args:
        reason: what was expected and what was found.
        fix: the command or edit that makes it available.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason} Fix: {fix}")
        self.reason = reason
        self.fix = fix


class Unsupported(Exception):
    """The backend says by itself that it cannot run this case."""


class Absent(Exception):
    """This environment's pins do not have the entry's architecture."""


class CheckFailed(Exception):
    """A check of the harness found a wrong result; the message says expected and found.

    Args:
        message: for this cell.
        fault: the same without names and numbers of one model; becomes the fingerprint. Where it
            is not given, the fingerprint is made from the message.
    """

    def __init__(self, message: str, fault: str = "") -> None:
        super().__init__(message)
        self.fingerprint = f"{type(self).__name__}: {fault}" if fault else ""


class LibraryFault(CheckFailed):
    """The reference breaks a property of its architecture, as causality: the library's fault."""


class BrokenContract(CheckFailed):
    """A backend breaks a promise of this module; the cell fails, at whatever stage.

    Args:
        promise: which one, in a word or two: `dtype`, `aliased outputs`.
        expected: what the contract says; the same for every model.
        found: what came.
        where: the output, say, that is meant.

    Attributes:
        promise: as given.
    """

    def __init__(self, promise: str, expected: str, found: str, where: str = "") -> None:
        place = f"{where}: " if where else ""
        super().__init__(f"contract: {promise}: {place}expected {expected}, found {found}")
        self.fingerprint = f"contract: {promise}: expected {expected}"
        self.promise = promise


class Inconclusive(Exception):
    """The reference is too ill-conditioned to judge by."""


class TooLarge(Exception):
    """The model and its reference need more memory than there is; the message has the figures."""

    fingerprint = "TooLarge: the model and its reference need more memory than there is"


class HarnessError(Exception):
    """Bad input from the user: expected, found, and the command or edit that fixes it."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a backend computes, as its own SDK reports it."""

    name: str
    kind: str  # cpu | gpu | npu
    versions: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    memory_bytes: int | None = None
    emulated: bool = False
    #: Names that `--device` takes, one for each of several alike, over which cells are spread.
    units: tuple[str, ...] = ()
    #: The stand-in for a missing device (`--fallback`): `cpu`. Counts as no device.
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which share of the work ran on the device, and how that is known.

    Attributes:
        device_share: 0..1.
        evidence: one line.
        fallback_ops: op type -> how many of them ran elsewhere.
        counts: what else is worth keeping with the result: partitions, rewrites, ...
    """

    device_share: float
    evidence: str
    fallback_ops: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Precision:
    """How a backend is asked to compute, and the name of the dtype that it computes in."""

    name: str
    dtype: str  # one of `DTYPES`
    patience: float = 1.0  # a cell may take so many times `--timeout`: it is compiled, say


#: The head of a cell that runs the headless model.
BASE = "base"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a model list: a named model or a bare architecture."""

    name: str
    family: str
    architecture: str
    task: str = ""
    checkpoint: str = ""
    priority: Priority = "medium"
    library: str = "transformers"
    requires: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    heads: tuple[str, ...] = ()  # the tasks whose heads are further cells
    aliases: tuple[str, ...] = ()
    notes: str = ""
    revision: str = ""  # of the checkpoint: a commit, branch or tag; empty: its main branch
    branch_of: str = ""  # the entry whose published configs also switch as `config` does

    @property
    def built(self) -> tuple[str, ...]:
        """The heads that are cells: the headless model first, which a branch with heads leaves out.

        The same switches stand in the headless model, which is inside each head.
        """
        return self.heads if self.branch_of and self.heads else (BASE, *self.heads)


#: Tokens to generate: enough to fill a small sliding window and to leave it.
GENERATED_TOKENS = 8

#: The metric, with the value 1, of a cell that ran with the weights of its checkpoint.
REAL_WEIGHTS = "real_weights"

#: The metric of a cell that was asked a question with a known answer: 1 where the reference's
#: answer is right, else 0.
KNOWN_ANSWER = "known_answer"

#: The metric of a cell that was given a checkpoint from the hub: the bytes of its files, in MB.
CHECKPOINT_SIZE = "checkpoint_size"

#: The metric of a cell whose program gives other numbers each time: the largest relative error
#: between two inferences on the same input, with the unit `1`.
NONDETERMINISM = "nondeterminism"

#: The metrics of a cell that was run again (`--repeat`): how often in all, and how often it passed.
ATTEMPTS, ATTEMPTS_PASSED = "attempts", "attempts_passed"

#: The metric of a cell at another seed than 0 whose reference did not hold on the first examples:
#: how many were tried, the last of which passed.
EXAMPLES_TRIED = "examples_tried"

#: The metric of a cell in which a row's outputs depend on the row's place in the batch and on its
#: neighbours by more than the noise floor: the relative error, with the unit `1`.
BATCH_VARIANCE = "batch_variance"

#: The metric of a cell whose outputs depend on how many threads computed them by more than the
#: noise floor: the relative error, with the unit `1`.
THREAD_VARIANCE = "thread_variance"

#: The metric of a cell whose process grows with each inference, in MB per inference.
GROWTH = "growth_per_inference"

#: The metric of a cell whose reference is float32: the code refuses float64, or memory does.
FLOAT32_REFERENCE = "float32_reference"

#: The metrics of a cell's reference: how many of its calls were kept, and how many made now.
REFERENCES_FOUND, REFERENCES_MADE = "references_kept", "references_made"

#: Before the names of the metrics of a cell that was measured (`--measure`): `measured_median`.
MEASURED = "measured_"


def label(entry: str, head: str) -> str:
    """`bert`, or `bert:fill-mask` for a head: what is built, on whatever backend."""
    return entry if head == BASE else f"{entry}:{head}"


@dataclass(frozen=True, slots=True)
class Cell:
    """Entry x head x backend x precision: the unit that is run, judged and stored."""

    entry: Entry
    backend: str
    precision: str = "default"
    head: str = BASE

    @property
    def label(self) -> str:
        """`bert`, or `bert:fill-mask` for a head."""
        return label(self.entry.name, self.head)

    @property
    def id(self) -> str:
        """`bert[torch-cpu-default]`, or `bert:fill-mask[torch-cpu-default]` for a head."""
        return f"{self.label}[{self.backend}-{self.precision}]"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured number with its unit (`s`, `MB`, `1`, ...)."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Raw times of one program that was measured (`--measure`).

    Attributes:
        name: `program`, `baseline` for eager execution on the CPU, `yardstick` for fixed work of
            the harness, `one-token` and `tokens` for generated text.
        turns: how many turns the program had, in each of which it ran equally often.
        seconds: wall time of each inference, in the order in which they ran.
        cpu_seconds: CPU time of the whole process for each.
    """

    name: str
    turns: int
    seconds: list[float]
    cpu_seconds: list[float]


@dataclass(frozen=True, slots=True)
class MeterReading:
    """The state of a device, as its management library tells it.

    Attributes:
        joules: of energy since some moment in the past; None where the device does not count it.
        clock_mhz: of its compute units now; None where it does not tell.
        others: how many other processes compute on the device.
    """

    joules: float | None = None
    clock_mhz: float | None = None
    others: int = 0


@dataclass(frozen=True, slots=True)
class CellFailure:
    """One failure of a cell: its stage, its outcome and the reason in one line."""

    stage: Stage
    outcome: Outcome
    reason: str
    cause: str  # fingerprint
    error: str  # the whole traceback

    @property
    def line(self) -> str:
        """Outcome, stage and reason, as `fail at generate: token 3 of row 0: ...`."""
        return f"{self.outcome} at {self.stage}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ModuleScore:
    """The score of one submodule's outputs, beside or around a culprit.

    Attributes:
        path: of the submodule, as `encoder.layer.0`; empty for the model itself.
        kind: its class.
        depth: how many calls of modules are around its own.
        score: error in units of the noise floor of these outputs.
    """

    path: str
    kind: str
    depth: int
    score: float


#: How many submodules' scores are kept with a culprit.
MOST_SCORES = 60


@dataclass(frozen=True, slots=True)
class Culprit:
    """The part of a model that fails, as `python -m harness localise` finds it.

    Attributes:
        module: path of the submodule, as `encoder.layer.0`; empty for the model's own code.
        kind: the submodule's class; empty where no part was found.
        operator: the smallest chain of its operators that fails, as `roll after window_reverse`;
            empty where none was found.
        input: the input of the cell on which the model fails.
        failure: of the whole model, in one line.
        cause: the same for the same fault in other models.
        alone: whether the submodule fails alone, with its recorded inputs.
        evidence: how all this is known, or why no part was found; one line.
        scores: of the submodules around the culprit, in the order of execution.
        prepares: how often the backend prepared something.
        seconds: of wall time.
    """

    module: str
    kind: str
    operator: str = ""
    input: str = ""
    failure: str = ""
    cause: str = ""
    alone: bool = False
    evidence: str = ""
    scores: list[ModuleScore] = field(default_factory=list)  # at most `MOST_SCORES`
    prepares: int = 0
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        """Whether a part was found."""
        return bool(self.kind)

    @property
    def line(self) -> str:
        """The part in words, as `encoder.layer.0 (SwinLayer): roll after window_reverse`."""
        if not self.found:
            return f"no part found: {self.evidence}"
        module = f"{self.module} ({self.kind})" if self.module else f"{self.kind} itself"
        where = f", on input '{self.input}'" if self.input not in ("", "base") else ""
        return f"{module}{f': {self.operator}' if self.operator else ''}{where}"


#: How many failures of a cell are kept after its first one.
MOST_FURTHER = 20


@dataclass(slots=True)
class CellResult:
    """The result of one cell; `verdict` is filled in by the judge, in the parent.

    Stage, outcome, reason, cause and error are those of the first failure. `further` holds the
    failures after it, because a failed check does not keep the next ones from running.
    """

    entry: str
    family: str
    architecture: str
    head: str
    precision: str
    stage: Stage
    outcome: Outcome
    reason: str = ""  # one line
    cause: str = ""  # fingerprint: the same fault in forty models is one cause
    error: str = ""  # the whole traceback
    parameters: int | None = None
    seconds: float = 0.0
    peak_rss_mb: float | None = None
    device_share: float | None = None
    noise_floor: float | None = None
    score: float | None = None
    verdict: Verdict | None = None
    fallback: str = ""  # what stood in for the missing device: such a row counts for no device
    metrics: list[Metric] = field(default_factory=list)
    further: list[CellFailure] = field(default_factory=list)  # at most `MOST_FURTHER`
    culprit: Culprit | None = None  # of a failure that was localised (`--localise`)
    timings: list[Timings] = field(default_factory=list)  # of a cell that was measured
    code: list[str] = field(default_factory=list)  # files that the result follows from, by label

    @property
    def failures(self) -> list[CellFailure]:
        """Every failure, the first one first; none of a cell that passes."""
        if self.outcome is Outcome.PASS:
            return []
        own = CellFailure(self.stage, self.outcome, self.reason, self.cause, self.error)
        return [own, *self.further]

    def fail(self, failure: CellFailure) -> None:
        """Keep a failure: the first one as the result's own, a later one in `further`."""
        if self.outcome is Outcome.PASS:
            self.stage, self.outcome = failure.stage, failure.outcome
            self.reason, self.cause, self.error = failure.reason, failure.cause, failure.error
        elif len(self.further) < MOST_FURTHER:
            self.further.append(failure)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Facts that all cells of one run share: one row of the `runs` table."""

    run_id: str
    backend: str
    started_at: str  # ISO 8601, UTC
    device: str
    emulated: bool
    versions: Mapping[str, str]
    lock_sha256: str
    git_commit: str
    host: str
    arguments: Sequence[str]
    seed: int
    faults: str = ""  # what `--fault` injected: such a run is no history, and counts nowhere
    size: str = "tiny"  # of the models; only tiny ones are in the tables of a report


@dataclass(frozen=True, slots=True)
class PipelineCase:
    """Arguments of `pipeline(task, model=..., **components)(raw, **arguments)`."""

    task: str
    components: Mapping[str, Any]  # tokenizer, image_processor, ...
    raw: Any  # text, an image, a recording
    #: Inputs of the model, where the answer is the model's own first output; None where the answer
    #: is made from that output, so that the outputs on the way are compared.
    inputs: Arrays | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Fields of the model's own `generation_config`; a backend whose pipeline does not read that
    #: gives them as arguments.
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """How a case generates text, greedily."""

    argument: str  # of forward, that it goes on with: (batch, length) token ids
    suppressed: tuple[int, ...] = ()  # ids that stand for an image or a sound, never for text
    #: Kinds of tokens by argument (`token_type_ids`), as a generated token has them; else 0.
    types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A text to generate, and the way: greedy, with a cache, unless the settings say otherwise.

    Attributes:
        inputs: arrays by forward-argument name, with the prompt.
        tokens: how many to generate; with `follow`, 0 is one call of forward.
        settings: keyword arguments of transformers' `generate()`, as in `{"num_beams": 3}`.
        follow: (batch, length) token ids that follow the prompt, whose cache is kept: they are read
            at once with that cache, without positions; None for none.
        assisted: whether the model drafts for itself, as `assistant_model` of `generate()`.
    """

    inputs: Arrays
    tokens: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    follow: Array | None = None
    assisted: bool = False


@dataclass(frozen=True, slots=True)
class Generated:
    """Generated tokens, and the logits that each was chosen by."""

    sequences: Array  # (batch, length + tokens) token ids, those given and to follow included
    #: (batch, tokens, vocabulary), floating, before any token is suppressed; where some follow a
    #: prompt, of these too, or of the generated ones alone. None where the SDK does not tell.
    logits: Array | None = None

    def arrays(self) -> Arrays:
        """The arrays that there are, by attribute."""
        found = {"sequences": self.sequences, "logits": self.logits}
        return {name: array for name, array in found.items() if array is not None}


@runtime_checkable
class Case(Protocol):
    """One entry, built small; lazy, so that a backend that needs no module never builds one.

    Every method may raise `Absent` when this environment's pins lack the architecture.
    The harness's own has `wrapped(module, examples) -> Case` too: a case of another module, with
    example inputs by variant.
    """

    @property
    def entry(self) -> Entry:
        """The row of the model list."""

    @property
    def head(self) -> str:
        """`base`, or one of the entry's heads."""

    @property
    def model_name(self) -> str:
        """The name of the model's class."""

    def config(self) -> Any:
        """The small config object."""

    def module(self) -> Any:
        """A fresh model in evaluation mode, float32, with seeded weights."""

    def inputs(self, variant: str = "base") -> Arrays:
        """Example inputs by forward-argument name.

        `base` is the plain example; `other` has the same shapes and other values; `reshaped` has
        another batch size and length, `odd-size` an image whose sides are odd, `other-size` one
        twice as wide (raises `Unsupported` where the model takes none, or gives the base's shapes).
        `processed` and `with-video` have arguments that processors send beside the plain ones.
        `whole-`, `short-` and `hidden-` before one of `MASKED_MEDIA` have the masks of that medium
        that the model takes: with nothing masked, with less of the medium, with its end masked.
        """

    def padding(self) -> int:
        """The token id that fills up the shorter rows of a batch."""

    def options(self) -> Mapping[str, Any]:
        """Arguments of forward that are no arrays, as in `{"use_cache": False}`."""

    def outputs(self, raw: Any) -> Arrays:
        """Named host arrays of what a module's forward returned."""

    def tensors(self, raw: Any) -> Mapping[str, Any]:
        """The same by the same names as the library's own tensors, for a trace to follow."""

    @property
    def seeded(self) -> bool:
        """Whether forward draws random numbers, so that two runs agree under one seed only."""

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """Outputs by name of eager execution on the CPU.

        Args:
            inputs: arrays by forward-argument name.
            dtype: `float64` for the reference, another of `DTYPES` for a noise floor; `int8`,
                `int4` and `mxfp4` mean weights on that grid and float32 arithmetic, `float8_...`
                and `tfloat32` products of factors so rounded, `conv-tfloat32` convolutions alone.
            seed: of the global random generators, so that randomness in forward shows.
        """

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        """The reference with noise on one weight, `scale` times that weight's own RMS."""

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """Outputs in float32 after weights, constants and inputs moved by one rounding of a dtype.

        A noise floor where the reference is no better than float32, where the dtype is refused, and
        where a model amplifies such a rounding.
        """

    def weights(self) -> Sequence[str]:
        """Names of the weights that a control may perturb, the likeliest first."""

    def parameters(self) -> int:
        """How many parameters the small model has."""

    @property
    def generation(self) -> Generation | None:
        """How it generates; None where the model does not."""

    def pipeline(self) -> PipelineCase | None:
        """Raw input with what turns it into arrays; None where the model has no pipeline."""

    def save(self, folder: Path) -> None:
        """Write the small model as its library saves it, for `from_pretrained`."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A program as a file that its SDK reads by itself, for a script without this project.

    Attributes:
        path: of the file.
        feed: the arrays of one inference, by the file's own names, in the order of its inputs.
        outputs: the case's name of each output -> its position.
        judged_alone: whether the backend's script computes what it expects from the file too, on
            the CPU; otherwise the reference's output lies beside the script.
    """

    path: Path
    feed: Arrays
    outputs: Mapping[str, int]
    judged_alone: bool = False


@runtime_checkable
class Program(Protocol):
    """One prepared case on one device."""

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; outputs by name, on the host.

        Args:
            inputs: read-only arrays, never to be written: copy what the SDK wants to write into.

        Returns:
            A dict of str to numpy arrays that no later inference writes into. Floating outputs are
            float32, or have the precision's own dtype; others are integers or booleans.
        """

    def placement(self) -> Placement:
        """Which share of the work ran on the device, from 0 to 1, and how that is known."""


class Generator(Protocol):
    """Generation of text by one prepared case on one device."""

    def __call__(self, request: GenerationRequest) -> Generated:
        """The text of a request.

        Raises:
            Unsupported: it does not generate in that way; such a way is left out, and counted so.
        """


@runtime_checkable
class Backend(Protocol):
    """One folder of `backends/`.

    Its `backend.py` exports a class `Backend(options)`; `options` maps the session's options
    (`device`, `fault`, ...) to strings. With `fallback`, `probe` may answer with what stands in
    for a missing device, and says so in `Device.fallback`; a cell has that option only then.
    Optional members, looked up by name: `case(entry, seed, size, head) -> Case` where the harness's
    own is not wanted, `narrowed(case) -> Case` where the SDK's classes take fewer inputs or return
    fewer outputs than the model, `from_pretrained(folder, case, precision) -> Program`,
    `pipeline(case, precision) -> (outputs, the arrays they are computed from) | None`,
    `generator(case, precision) -> Generator`, `memory() -> int` (device bytes, not below 0),
    `meter() -> MeterReading | None` (None where no library tells),
    `exported(case, precision, inputs, path) -> ExportedFile` (the program as a file at `path` with
    a suffix of its own, for the inference on `inputs`),
    `on_threads(count) -> AbstractContextManager` (programs that are prepared already compute on so
    many threads of the host in it),
    `dynamic: bool` (False where a program takes the shapes that it was prepared for and no others;
    true where it is not said), `any_arguments: bool` (True where a program takes arguments of
    forward that the plain inputs lack, as a mask of sound; false where it is not said). The
    pipeline of a case that generates returns its sequences as the one output named
    `case.generation.argument`.
    """

    precisions: Sequence[Precision]  # one is called `default`

    def probe(self) -> Device:
        """The device; raises `Unavailable(reason, fix)`."""

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Convert and compile; raises what the SDK raises, or `Unsupported(reason)`."""


def is_floating(array: Array) -> bool:
    """Whether an output is compared by its values rather than exactly."""
    return array.dtype.kind == "f"
