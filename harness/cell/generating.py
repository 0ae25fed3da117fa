"""The stage `generate` of a cell: a text by greedy generation, then in each way of a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from harness.cell import border
from harness.cell.judgement import compare, with_own_floor
from harness.cell.progress import CellProgress
from harness.cell.reference import Reference
from harness.checks import cache_ways, generation
from harness.checks.cache_ways import CacheWay
from harness.contract import (
    GENERATED_TOKENS,
    PROCESSED,
    Array,
    Arrays,
    Case,
    CheckFailed,
    Generated,
    Generation,
    GenerationRequest,
    Generator,
    Inconclusive,
    Unsupported,
)
from harness.toolkit import fingerprints, padded_inputs

#: From the inputs of one inference to its outputs.
Inference = Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Text:
    """A generated text that is judged already, and the reference's logits on it."""

    fed: Arrays  # what generation began with
    sequences: Array  # (batch, length + tokens) token ids
    logits: Array  # (batch, length + tokens, vocabulary)


@dataclass(frozen=True, slots=True)
class GenerationJudge:
    """Judge of generated texts, by one inference of the reference over each whole text."""

    case: Case
    how: Generation
    reference: Reference
    progress: CellProgress

    def plain(self, fed: Arrays, made: Generated) -> Text:
        """Judges plain greedy generation.

        Args:
            fed: what generation began with.
            made: what it came to.

        Raises:
            CheckFailed: a logit is not the reference's, or a token is not the likeliest.
            Inconclusive: the noise floor is too high to judge tokens.
        """
        ids = fed[self.how.argument]
        self._check_sequences(made, ids)
        logits = self._logits(self._exact, fed, made.sequences)
        self._judge(
            generation.LOGITS,
            ids,
            made,
            generation.steps_of(made.sequences, logits, ids.shape[1]),
            lambda noisy: self._steps(noisy, fed, made.sequences, ids.shape[1]),
            greedy=True,
        )
        self.progress.metric("generated_tokens", made.sequences.shape[1] - ids.shape[1], "1")
        return Text(fed, made.sequences, logits)

    def in_way(self, way: CacheWay, generator: Generator, text: Text) -> None:
        """Generates again in another way of using a cache, and judges what comes.

        Args:
            way: which one.
            generator: of the backend.
            text: of plain generation.

        Raises:
            CheckFailed: a logit is not the reference's, or a token is not the likeliest.
            Unsupported: the model or the backend does not generate so.
        """
        fed = cache_ways.fed_in(way, self.case, text.fed, self.how)
        prompt = fed[self.how.argument]
        follow = text.sequences[: len(prompt), prompt.shape[1] :]
        request = way.request(_lent(fed), border.read_only(follow))
        raw = generator(request)
        begun = prompt
        if request.follow is not None and request.tokens:
            begun = np.concatenate([prompt, request.follow], axis=1)
        made = border.generated(raw, begun)
        self._check_sequences(made, begun)
        if made.logits is None and not way.greedy:
            raise Unsupported("it tells no logits")

        def steps(run: Inference, known: Text | None) -> Array:
            if way.rows == "left-padded":
                return self._padded_steps(run, text, made.sequences, known)
            return self._steps(run, fed, made.sequences, begun.shape[1], known)

        self._judge(
            way.name,
            begun,
            made,
            steps(self._exact, text),
            lambda noisy: steps(noisy, None),
            greedy=way.greedy,
        )

    def _judge(
        self,
        name: str,
        begun: Array,
        made: Generated,
        want: Array,
        noise: Callable[[Inference], Array],
        *,
        greedy: bool,
    ) -> None:
        """Hold the steps of a text against the reference's: (batch, tokens, vocabulary)."""
        result = self.progress.result
        if made.logits is not None:
            got, wanted = {"logits": made.logits}, {"logits": want}
            floored = with_own_floor(
                self.reference, got, wanted, lambda noisy: {"logits": noise(noisy)}
            )
            compare(name, got, wanted, floored, result)
        if greedy:
            judged = generation.judge(begun, self.how, made.sequences, want, self.reference.floor)
            result.score = max(result.score or 0.0, judged.score)

    def _check_sequences(self, made: Generated, begun: Array) -> None:
        vocabulary = generation.logits_of(self.reference.outputs["base"]).shape[-1]
        generation.check_sequences(made.sequences, begun, vocabulary)

    def _exact(self, inputs: Arrays) -> Arrays:
        return self.case.reference(inputs, self.reference.dtype)

    def _logits(self, run: Inference, fed: Arrays, sequences: Array) -> Array:
        outputs = run(generation.extended(fed, self.how, sequences))
        return generation.token_logits(outputs, sequences.shape[1])

    def _steps(
        self,
        run: Inference,
        fed: Arrays,
        sequences: Array,
        began: int,
        known: Text | None = None,
    ) -> Array:
        """The logits of each token from `began` on; those of a known text are looked up."""
        rows, length = sequences.shape
        if known is not None and np.array_equal(known.sequences[:rows, :length], sequences):
            logits = known.logits[:rows, :length]
        else:
            logits = self._logits(run, fed, sequences)
        return generation.steps_of(sequences, logits, began)

    def _padded_steps(
        self, run: Inference, text: Text, sequences: Array, known: Text | None
    ) -> Array:
        """Those of a batch whose last row is padded: of that row, as it is without padding."""
        argument = self.how.argument
        short, began = padded_inputs.shortened(text.fed), text.fed[argument].shape[1]
        tokens = sequences[:, began:]
        full = np.concatenate([text.fed[argument], tokens], axis=1)
        full[-1] = text.sequences[-1, : full.shape[1]]
        brief = np.concatenate([short[argument], tokens], axis=1)
        return np.concatenate(
            [
                self._steps(run, text.fed, full, began, known)[:-1],
                self._steps(run, short, brief, short[argument].shape[1])[-1:],
            ]
        )


def plain_text(judge: GenerationJudge, generator: Generator) -> Text:
    """Generates a text greedily, with the cache that is the model's own, and judges it.

    A prompt with an image goes on from what a processor sends, where the model takes more than the
    plain inputs: Gemma 3's static cache was wrong with `token_type_ids` alone.

    Raises:
        CheckFailed: the text is wrong.
        Inconclusive: the noise floor is too high to judge tokens.
    """
    argument, inputs = judge.how.argument, judge.reference.inputs
    base = inputs["base"]
    if cache_ways.beyond_text(base, judge.how):
        base = inputs.get(PROCESSED, base)
    given = generation.prompt(base, argument)
    raw = generator(GenerationRequest(_lent(given), GENERATED_TOKENS))
    return judge.plain(given, border.generated(raw, given[argument]))


def generate(judge: GenerationJudge, generator: Generator, ways: Iterable[CacheWay]) -> None:
    """Generates a text plainly and in each further way, and judges each of them.

    Args:
        judge: of the case's texts.
        generator: of the backend.
        ways: of using a cache.

    A way that fails is kept as a failure of the cell, and one that is refused is counted.

    Raises:
        CheckFailed: the text of plain generation is wrong; no way is tried then.
        Inconclusive: the noise floor is too high to judge tokens.
    """
    text = plain_text(judge, generator)
    for way in ways:
        judged = True
        try:
            judge.in_way(way, generator, text)
        except Exception as error:
            judged = not cache_ways.refusal(error)
            if judged:
                judge.progress.keep(_named(way.name, error))
        judge.progress.metric(way.metric, judged, "1")


def _named(way: str, error: Exception) -> CheckFailed:
    """An error of one way of using a cache, which says so."""
    said = fingerprints.telling_line(fingerprints.text_of(error))
    if not isinstance(error, CheckFailed | Inconclusive):
        said = f"{type(error).__name__}: {said}"
    prefix = f"on input '{way}': "
    found = CheckFailed(f"generate, {way}: {said.removeprefix(prefix)}")
    found.__cause__ = error
    return found


def _lent(inputs: Arrays) -> Arrays:
    return {name: border.read_only(array) for name, array in inputs.items()}
