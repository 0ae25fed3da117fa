"""Fingerprints of faults: the same fault in forty models is one cause.

A fingerprint is readable: `RuntimeError: mat1 and mat2 shapes cannot be multiplied (<shape> and
<shape>) @ torch.nn.functional:linear`. What differs from model to model (numbers, shapes,
addresses, paths, the order of a set, names of outputs and weights, class and module names of one
architecture) becomes a placeholder; what names the fault (an operator, a missing package, an
attribute) stays.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Sequence
from traceback import FrameSummary

from harness.toolkit.checkout import PACKAGE

#: Longer than this, a message says more than its cause.
LIMIT = 200

#: Characters of a message that are looked at: what stands further back is no cause.
READ = 2_000

#: Suffixes of the names of an architecture's classes, as in `BertModel`.
_PARTS = (
    r"For[A-Z]\w*|PreTrainedModel|TextModel|VisionModel|Model|TextConfig|VisionConfig|Config|"
    r"DecoderLayer|EncoderLayer|Layer|Block|Attention|MLP|Experts|Encoder|Decoder|Embeddings?|"
    r"Processor|Tokenizer(?:Fast)?|RMSNorm|Mixer|Output"
)

#: Explanations of `harness.toolkit.numerics.explain`, as they stand behind an output's name.
_OF_AN_OUTPUT = (
    r"relative error |\d+ of \d+ values are|expected shape |expected [-+.\de]+ in all of it"
)

_QUOTED = r"""(?:'[^']*'|"[^"]*")"""

_NUMBER = r"-?(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"

_UNIT = r"(?:[kKMGT]i?B|[mun]?s)"

_SIZES = r"\s*[-?\d]+(?:\s*,\s*[-?\d.]+)*\s*,?\s*"

#: In this order: a later rule sees what the earlier ones left.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\x1b\[[0-9;]*m", ""),
        (r"\s+", " "),
        # An output by its name, in a comparison of outputs (`harness.toolkit.numerics.explain`).
        (rf"(?<![\w.])[\w.\[\]]+: (?={_OF_AN_OUTPUT})", "<output>: "),
        (r"(?<=change no real token; )\S+(?= moved by)", "<output>"),
        (r"\boutputs: expected \[[^]]*\], got \[[^]]*\]", "outputs: expected <names>, got <names>"),
        # torch.export's symbols are numbered anew in each model: Eq(u12, 1), u0 + u1 > 0
        (
            r"data-dependent expression .*?\(Size-like symbols: [^)]*\)",
            "data-dependent expression <expression>",
        ),
        # Sets and lists of quoted names, in whatever order: {'b', 'a'}, ["x", "y", "z"]
        (rf"[\[{{(] ?{_QUOTED}(?: ?, ?{_QUOTED})+ ?,? ?[\]}})]", "<names>"),
        # The place within PyTorch's C++ code moves with every release.
        (r"\s*\(function [^)]*\)", ""),
        (r"\bat \"?[^\s\"]*\.(?:cpp|cc|cu|h|hpp)\"?:\d+", ""),
        # Nodes of a graph: '__module.encoder/aten::add/Add_3'
        (r"(?<![\w>])'[^'\s]*/[^'\s]*'(?![\w<])", "<name>"),
        # Paths: POSIX with at least two parts, or with a drive letter.
        (r"(?<![\w<:/.])(?:[A-Za-z]:)?(?:[\\/][\w.+@~-]+){2,}[\\/]?", "<path>"),
        # Addresses, UUIDs, digests, and a runtime's counter behind a name: Provider_10241787_0
        (r"0x[0-9a-fA-F]+", "<address>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<address>"),
        (r"(?<![\w.])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,}\b(?!-\d)", "<address>"),
        (r"_\d{6,}(?:_\d+)*\b", "_<n>"),
        (r"(?:https?|file)://\S+", "<link>"),
        # [2, 16, 64], (2, 16), torch.Size([2, 3]), {1,2,?}, 2x16x64
        (rf"torch\.Size\(\[{_SIZES}\]\)|\[{_SIZES}\]|\{{{_SIZES}\}}", "<shape>"),
        (r"\(\s*-?\d+\s*,(?:\s*[-?\d]+\s*,?)*\s*\)", "<shape>"),
        (r"\b\d+(?:x\d+)+\b", "<shape>"),
        (r"\btransformers\.models\.\w+", "transformers.models.<model>"),
        (
            r"\b(modeling|modular|configuration|(?:image_)?processing|tokenization)_\w+",
            r"\1_<model>",
        ),
        # Names of weights and modules: layers.0.self_attn.q_proj.weight
        (r"(?<![\w.])(?:[A-Za-z_]\w*\.)+\d+(?:\.\w+)*", "<parameter>"),
        (r"(?<![\w.])(?:[A-Za-z_]\w*\.)+(?:weight|bias)\b", "<parameter>"),
        (r"<parameter>(?:, <parameter>)+", "<parameter>"),
        # Classes of one architecture: Qwen3NextDecoderLayer, BertForMaskedLM, LlamaConfig
        (
            rf"\b[A-Z][A-Za-z0-9_]*?({_PARTS})\b",
            r"<\1>",
        ),
        # Quoted prose and quoted names with digits are particular to one model; a quoted plain
        # identifier (an attribute, a package, an operator) is the fault's own name.
        (r"(?<![\w>])'[^']*(?:\s[^']*\s|\d)[^']*'(?![\w<])", "<name>"),
        (r'(?<![\w>])"[^"]*(?:\s[^"]*\s|\d)[^"]*"(?![\w<])', "<name>"),
        # Times, numbers, numbers with a unit, and versions
        (r"(?<![\w:])\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?(?![\w:])", "<n>"),
        (rf"(?<![A-Za-z0-9_<])(?<!::){_NUMBER}(?={_UNIT}?(?![A-Za-z0-9_]))", "<n>"),
        (r"(?<!\w)-?(?:nan|inf)(?!\w)", "<n>"),
        (r"(?<!\w)<n>(?:\.(?:<n>|\*))+", "<n>"),
        (r"(?:<n>(?:, ?| x )){2,}<n>", "<shape>"),
        # The same said of one thing after the other
        (r"(?P<said><\w+>: .{5,200}?)(?:; (?P=said))+(?=;|$)", r"\g<said>"),
    )
)

#: Messages of libraries' allocators that raise something else than a MemoryError.
_OUT_OF_MEMORY = re.compile(
    r"(can't|cannot|unable to) allocate memory|unable to allocate|(out of|not enough) memory|"
    r"bad[_ ]alloc",
    re.IGNORECASE,
)

_ONLY_A_PLACE = re.compile(r"Exception from \S+:\d+:$")

_LIBRARY = re.compile(r"[\\/](?:site|dist)-packages[\\/](?P<module>.+)\.(?:py|pyx|pyc)$")
_STANDARD = re.compile(r"[\\/][Ll]ib[\\/]python\d\.\d+[\\/](?P<module>(?!site-|dist-).+)\.py$")
#: Frames that every call passes through and that say nothing about the fault.
_PLUMBING = frozenset({"_call_impl", "_wrapped_call_impl", "__call__", "wrapper", "inner"})
_FAULTHANDLER_THREAD = re.compile(r"^(?:Current thread|Thread) 0x")
_FAULTHANDLER_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')


def fingerprint(
    exc_type: str, message: str, frames: Sequence[FrameSummary], names: Iterable[str] = ()
) -> str:
    """One readable line that is the same for the same fault in other models.

    Args:
        exc_type: name of the exception's class, or of an outcome such as `crash`.
        message: its text; the first line that says something counts.
        frames: the traceback, outermost first, as `traceback.extract_tb` gives it.
        names: this entry's own names (entry, architecture), which become `<model>`.
    """
    return _one_line(exc_type, message, place(frames), names)


def is_out_of_memory(kind: str, message: str) -> bool:
    """Whether an exception says that memory ran out: Python's own, or an allocator's in C++.

    Args:
        kind: the exception's class name.
        message: its text.
    """
    return kind == MemoryError.__name__ or _OUT_OF_MEMORY.search(message) is not None


def text_of(error: BaseException) -> str:
    """An exception's message, also where its class fails to make one."""
    try:
        return str(error)
    except Exception as failure:
        return f"its message could not be read: {type(failure).__name__}"


def of(error: BaseException, names: Iterable[str] = ()) -> str:
    """The fingerprint of an exception that was caught.

    Args:
        error: its `fingerprint`, where it has one, is taken as it is, and its `place`, where it has
            one, stands for that of its traceback.
        names: as for `fingerprint`.
    """
    own: str = getattr(error, "fingerprint", "")
    if own:
        return own
    where: str | None = getattr(error, "place", None)
    if where is None:
        where = place(traceback.extract_tb(error.__traceback__))
    return _one_line(type(error).__name__, text_of(error), where, names)


def normalise(text: str, names: Iterable[str] = ()) -> str:
    """A message with placeholders for what is particular to one model."""
    text = text[:READ]
    for name in sorted({name for name in names if len(name) > 2}, key=len, reverse=True):
        spelling = "[-_. ]?".join(re.escape(part) for part in re.split(r"[-_. ]", name) if part)
        text = re.sub(rf"(?<![A-Za-z0-9]){spelling}(?![A-Za-z0-9])", "<model>", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= LIMIT else text[: LIMIT - 3].rstrip() + "..."


def _one_line(exc_type: str, message: str, where: str, names: Iterable[str]) -> str:
    text = normalise(telling_line(message), names)
    line = f"{exc_type}: {text}" if text else exc_type
    return f"{line} @ {where}" if where else line


def faulthandler_frames(output: str) -> list[FrameSummary]:
    """The frames that Python's faulthandler printed, outermost first.

    Of several threads the failing one counts (`Current thread`), else the main thread, which
    faulthandler prints last.
    """
    threads: list[list[FrameSummary]] = []
    current: list[FrameSummary] | None = None
    for line in output.splitlines():
        if _FAULTHANDLER_THREAD.match(line):
            threads.append([])
            if line.startswith("Current thread"):
                current = threads[-1]
        elif threads and (found := _FAULTHANDLER_FRAME.match(line)) is not None:
            frame = FrameSummary(
                found["file"], int(found["line"]), found["name"], lookup_line=False, line=""
            )
            threads[-1].append(frame)
    chosen = current if current is not None else threads[-1] if threads else []
    return chosen[::-1]


def telling_line(message: str) -> str:
    """The first line that says what happened.

    Converters like to begin with rulers and blank lines, and runtimes in C++ with the places that
    an error came through (`Exception from src/core/node.cpp:794:`).
    """
    lines = [line.strip() for line in message.splitlines()]
    for line in lines:
        if re.search(r"[A-Za-z]{2}", line) and not _ONLY_A_PLACE.match(line):
            return line
    return next(filter(None, lines), "")


def place(frames: Sequence[FrameSummary]) -> str:
    """`module:function` of the innermost frame in a library; empty if there is none.

    This package is none of them, also where it is installed among them. The standard library
    counts only where the fault itself lies in it: every child was started through it.
    """
    for frame in reversed(frames):
        found = _LIBRARY.search(frame.filename)
        own = frame.filename.startswith(f"{PACKAGE}{os.sep}")
        if found is not None and not own and frame.name not in _PLUMBING:
            return _named(found, frame)
    found = _STANDARD.search(frames[-1].filename) if frames else None
    return _named(found, frames[-1]) if found is not None else ""


def _named(found: re.Match[str], frame: FrameSummary) -> str:
    module = re.sub(r"[\\/]", ".", found["module"]).removesuffix(".__init__")
    return f"{normalise(module)}:{frame.name}"
