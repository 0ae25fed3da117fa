"""The project's Markdown files, as CommonMark tokens: code blocks, inline code, links, anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent

#: The folders whose Markdown files are read. A session's environment and results are none of them.
FOLDERS = ("", "docs/", "docs/upstream/", "model_lists/", "backends/*/")

#: The programs by which a command is told from other inline code.
PROGRAM = re.compile(
    r"(nox|(python|pip|uv|duckdb|docker) .*|\.nox/\S+|\.ci/\S+|[A-Z_]+=\S+ \S+)( |$)"
)

#: Inline code that names a file or a folder of the repository; one to come is in lower case too.
PATH = re.compile(
    r"(harness|backends|tests|docs|model_lists|tools|benchmarks|\.github|\.ci)(/[a-z0-9_.*-]+)+/?"
)

#: A word of the documents that stands for one of the reader's own, and an example of it.
PLACEHOLDERS = {"ENTRY": "bert", "NAME": "bert", "[LIST|FAMILY|NAME]": "bert"}


@dataclass(frozen=True, slots=True)
class Code:
    """A code block; `language` is the fence's info string, None for an indented block."""

    document: Path
    language: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A relative link: a path from the document's folder, a `#anchor`, or both."""

    document: Path
    target: str


def documents() -> list[Path]:
    """Every Markdown file that people read, changelog and its fragments left out."""
    found = {path for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md")}
    return sorted(found - {ROOT / "CHANGELOG.md"})


def relative(document: Path) -> str:
    """A document's path in the repository."""
    return document.relative_to(ROOT).as_posix()


def tokens(document: Path) -> Iterator[Token]:
    """The tokens of a document, those inside of paragraphs and cells of tables too."""
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text("utf-8")):
        yield token
        yield from token.children or ()


def code_blocks(document: Path) -> list[Code]:
    """The code blocks of a document, in order; those of a block that is Markdown itself too."""
    blocks = []
    for token in tokens(document):
        if token.type == "code_block":
            blocks.append(Code(document, None, token.content))
        elif token.type == "fence":
            blocks.append(Code(document, token.info.strip(), token.content))
            if token.info.strip() == "markdown":
                inner = MarkdownIt("commonmark").parse(token.content)
                blocks += [Code(document, None, t.content) for t in inner if t.type == "code_block"]
    return blocks


def commands(document: Path) -> list[str]:
    """The shell commands of a document, without comments: indented blocks, and inline code."""
    found: list[str] = []
    for block in code_blocks(document):
        if block.language is None:
            found += statements(block.text)
    for token in tokens(document):
        if token.type == "code_inline" and PROGRAM.match(token.content):
            found += statements(token.content)
    return list(dict.fromkeys(found))


def statements(text: str) -> list[str]:
    """The commands of a shell script of simple commands, joined by newlines or `&&`.

    Raises:
        ValueError: the script ends inside of quotes.
    """
    found = []
    rest = ""
    for line in text.splitlines():
        rest += line
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:  # inside of quotes, or behind a backslash
            rest += "\n"
            continue
        rest = ""
        while "&&" in words:
            found.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        found.append(words)
    if rest:
        raise ValueError(f"expected quotes to be closed, found {rest!r}")
    return [shlex.join(words) for words in found if words]


def links(document: Path) -> list[Link]:
    """The relative links of a document, of pictures too."""
    targets = [
        str(token.attrs["href" if token.type == "link_open" else "src"])
        for token in tokens(document)
        if token.type in {"link_open", "image"}
    ]
    return [Link(document, target) for target in targets if not re.match(r"[a-z]+:", target)]


def paths(document: Path) -> list[str]:
    """The paths of the repository that inline code of a document names, without placeholders."""
    return [
        token.content
        for token in tokens(document)
        if token.type == "code_inline" and PATH.fullmatch(token.content)
    ]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    parsed = MarkdownIt("commonmark").parse(document.read_text("utf-8"))
    found = set()
    for heading, content in pairwise(parsed):
        if heading.type == "heading_open":
            text = "".join(token.content for token in content.children or ())
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found
