"""Validation rules of stored rows: the condition that each column's value must meet.

A rule is SQL, so that the history of a hundred nights is judged where it lies. A row that breaks a
rule is left out; a text that is only too long is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Names that become part of a path or of a command line, such as `torch-cpu` or a run's id.
PLAIN_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"

#: Names that are only shown, such as `fill-mask` or `fallback/aten::unfold`: no control characters.
SHOWN_NAME = r"[^\p{C}\p{Zl}\p{Zp}]+"

#: The longest name, in characters.
LONGEST_NAME = 200

#: The longest texts, in characters: `reason` and `cause` keep their beginning, `error` its end.
LONGEST = {"reason": 4_200, "cause": 4_200, "error": 65_000}


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule for one column.

    Attributes:
        column: its name.
        condition: SQL; true of a value that holds. NULL counts as false.
        expected: the rule in words, after "expected <column> to be".
    """

    column: str
    condition: str
    expected: str


def _matches(column: str, pattern: str, expected: str) -> Rule:
    condition = f"length({column}) <= {LONGEST_NAME} AND regexp_full_match({column}, '{pattern}')"
    return Rule(column, condition, expected)


def _plain(column: str) -> Rule:
    return _matches(column, PLAIN_NAME, "a name of letters, digits and . _ + -")


def _shown(column: str) -> Rule:
    return _matches(column, SHOWN_NAME, "a printable name")


def _one_of(column: str, values: Sequence[str], *, null: bool = False) -> Rule:
    listed = ", ".join(f"'{value}'" for value in values)
    condition = f"{column} IN ({listed})"
    words = f"one of {', '.join(values)}"
    if null:
        return Rule(column, f"{column} IS NULL OR {condition}", f"{words}, or NULL")
    return Rule(column, condition, words)


def _number(column: str, condition: str, expected: str, *, null: bool = True) -> Rule:
    if null:
        return Rule(column, f"{column} IS NULL OR ({condition})", f"{expected}, or NULL")
    return Rule(column, condition, expected)


_FINITE = "isfinite({0}) AND {0} >= 0"


def of_cells(
    stages: Sequence[str], outcomes: Sequence[str], verdicts: Sequence[str]
) -> tuple[Rule, ...]:
    """The rules for the table of cells; the names of stages, outcomes and verdicts are given."""
    return (
        _plain("run_id"),
        _plain("entry"),
        _shown("family"),
        _shown("architecture"),
        _shown("head"),
        _shown("precision"),
        _one_of("stage", stages),
        _one_of("outcome", outcomes),
        _one_of("verdict", verdicts, null=True),
        *(Rule(text, f"{text} IS NOT NULL", "a text") for text in LONGEST),
        _number("parameters", "parameters >= 0", "0 or more"),
        _number("seconds", _FINITE.format("seconds"), "finite, 0 or more", null=False),
        _number("peak_rss_mb", _FINITE.format("peak_rss_mb"), "finite, 0 or more"),
        _number("device_share", "device_share BETWEEN 0 AND 1", "from 0 to 1"),
        # A score is infinite where an output is missing or NaN.
        _number("noise_floor", "NOT isnan(noise_floor)", "no NaN"),
        _number("score", "NOT isnan(score)", "no NaN"),
        # Files of before the column have NULL in it.
        Rule(
            "fallback",
            f"coalesce(fallback, '') = '' OR ({_shown('fallback').condition})",
            "empty or a printable name",
        ),
    )


def of_further_failures(stages: Sequence[str], outcomes: Sequence[str]) -> tuple[Rule, ...]:
    """The rules for the table of further failures; the names of stages and outcomes are given."""
    return (
        _number("number", "number BETWEEN 2 AND 1000", "from 2 to 1000", null=False),
        _one_of("stage", stages),
        _one_of("outcome", outcomes),
        *(Rule(text, f"{text} IS NOT NULL", "a text") for text in LONGEST),
    )


#: The longest texts of a culprit, in characters.
CULPRIT_TEXTS = {
    "module": 500,
    "kind": 500,
    "operator": 500,
    "input": 500,
    "cause": 4_200,
    "evidence": 4_200,
    "scores": 30_000,
}

#: The rules for the table of culprits.
CULPRITS: tuple[Rule, ...] = (
    *(
        Rule(text, f"{text} IS NOT NULL AND length({text}) <= {most}", f"a text of {most} at most")
        for text, most in CULPRIT_TEXTS.items()
    ),
    Rule("scores", "json_valid(scores)", "JSON"),
    Rule("alone", "alone IS NOT NULL", "true or false"),
    _number("prepares", "prepares >= 0", "0 or more", null=False),
    _number("seconds", _FINITE.format("seconds"), "finite, 0 or more", null=False),
)

#: The most inferences of a row of raw times.
MOST_TIMES = 100_000

#: The rules for the table of raw times.
TIMINGS: tuple[Rule, ...] = (
    _shown("name"),
    _number("turns", f"turns BETWEEN 1 AND {MOST_TIMES}", f"from 1 to {MOST_TIMES}", null=False),
    *(
        Rule(
            times,
            f"len({times}) BETWEEN 1 AND {MOST_TIMES} AND len({times}) % turns = 0 AND "
            f"len(list_filter({times}, lambda t: coalesce(isfinite(t) AND t > 0, false)))"
            f" = len({times})",
            "finite seconds above 0, as many in each turn",
        )
        for times in ("seconds", "cpu_seconds")
    ),
)

#: The rules for the table of metrics.
METRICS: tuple[Rule, ...] = (
    _shown("name"),
    Rule("value", "isfinite(value)", "finite"),
    Rule("unit", f"unit = '' OR ({_shown('unit').condition})", "a printable name"),
)


def broken(rules: Sequence[Rule]) -> str:
    """SQL for the column of the first rule that a row breaks; NULL where it keeps them all."""
    cases = " ".join(
        f"WHEN NOT coalesce(({rule.condition}), false) THEN '{rule.column}'" for rule in rules
    )
    return f"CASE {cases} END"


def cut(column: str) -> str:
    """SQL for a text in its longest form; bytes that are no UTF-8 are none."""
    text = f"coalesce(TRY(decode(encode({column}))), '(no UTF-8)')"
    longest = LONGEST[column]
    kept = f"'… ' || right({text}, {longest})" if column == "error" else f"left({text}, {longest})"
    ending = "" if column == "error" else " || ' …'"
    return f"CASE WHEN length({text}) > {longest} THEN {kept}{ending} ELSE {text} END"
