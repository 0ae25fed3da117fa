"""Schema of a results file, its version, and the migrations from every older version."""

from __future__ import annotations

from collections.abc import Mapping

#: Version of `SCHEMA`: raise it with every change, and add the statements to `MIGRATIONS`.
SCHEMA_VERSION = 8

#: The largest sequence that a run can have.
LARGEST_SEQUENCE = 10**12

#: The failures of a cell after its first one, which its row in `cells` holds.
_FURTHER_FAILURES = """
CREATE TABLE further_failures (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    number INTEGER NOT NULL,        -- from 2 upwards, in the order in which they came
    stage VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    cause VARCHAR NOT NULL,
    error VARCHAR NOT NULL);
"""

#: The part of a model that fails, of cells that were localised (`--localise`).
_CULPRITS = """
CREATE TABLE culprits (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    module VARCHAR NOT NULL,        -- empty: the model's own code
    kind VARCHAR NOT NULL,          -- class of the module; empty: no part was found
    operator VARCHAR NOT NULL,      -- empty: none was found
    input VARCHAR NOT NULL,
    cause VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    alone BOOLEAN NOT NULL,         -- whether the module fails alone, with recorded inputs
    scores VARCHAR NOT NULL,        -- JSON: a list of [path, class, depth, score or null]
    prepares INTEGER NOT NULL,
    seconds DOUBLE NOT NULL);
"""

#: Raw times of the cells that were measured (`--measure`): a row for each program that took turns.
_TIMINGS = """
CREATE TABLE timings (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    name VARCHAR NOT NULL,          -- program, baseline, yardstick, one-token, tokens
    turns INTEGER NOT NULL,         -- in each of which the program ran equally often
    seconds DOUBLE[] NOT NULL,      -- wall time of each inference, in the order of time
    cpu_seconds DOUBLE[] NOT NULL); -- CPU time of the whole process for each
"""

#: Digests of all that a result follows from, and the files among that (`--changed`).
_KEYS = """
CREATE TABLE cell_keys (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    code VARCHAR NOT NULL);         -- of `code_sets`
CREATE TABLE code_sets (
    digest VARCHAR PRIMARY KEY,
    files VARCHAR NOT NULL);        -- JSON: a list of labels
"""

#: Times are UTC; `versions` and `arguments` are JSON; `seconds` are seconds of wall time,
#: `peak_rss_mb` is in units of 10^6 bytes, `device_share` lies in 0..1. `sequence` counts the runs
#: of a file in the order in which they began, whatever the clock said.
SCHEMA = f"""
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    backend VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,          -- NULL: the run was interrupted
    device VARCHAR NOT NULL,
    emulated BOOLEAN NOT NULL,
    versions VARCHAR NOT NULL,
    lock_sha256 VARCHAR NOT NULL,
    git_commit VARCHAR NOT NULL,
    host VARCHAR NOT NULL,
    arguments VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    faults VARCHAR NOT NULL DEFAULT '',   -- not empty: `--fault` injected these
    size VARCHAR NOT NULL DEFAULT 'tiny');  -- of the models: tiny, wide, full, or checkpoint
CREATE TABLE cells (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    architecture VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    verdict VARCHAR,
    reason VARCHAR NOT NULL,
    cause VARCHAR NOT NULL,
    parameters BIGINT,
    seconds DOUBLE NOT NULL,
    peak_rss_mb DOUBLE,
    device_share DOUBLE,
    error VARCHAR NOT NULL,
    noise_floor DOUBLE,
    score DOUBLE,
    fallback VARCHAR NOT NULL DEFAULT '',  -- not empty: this stood in for the missing device
    PRIMARY KEY (run_id, entry, head, precision));
CREATE TABLE metrics (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL);
{_FURTHER_FAILURES}{_CULPRITS}{_TIMINGS}{_KEYS}"""

#: Tables that older files lack, with the version that brought each; there they are empty.
TABLES_SINCE: Mapping[str, int] = {"further_failures": 4, "culprits": 5, "timings": 6}

#: Columns that older files lack, by table, with the SQL that gives their values there. A file of
#: before version 3 has its runs in the order of their insertion, and `--fault` in the arguments.
STAND_INS: Mapping[str, Mapping[str, str]] = {
    "runs": {
        "sequence": "rowid + 1",
        "faults": """coalesce(regexp_extract(arguments, '"--fault(=|", *")([^"]*)"', 2), '')""",
        "size": """CASE WHEN regexp_matches(arguments, '"--checkpoints[="]') THEN 'checkpoint'
            WHEN regexp_matches(arguments, '"--size(=|", *")full"') THEN 'full' ELSE 'tiny' END""",
    },
    "cells": {"fallback": "''"},
    "metrics": {},
    "further_failures": {},
    "culprits": {},
    "timings": {},
}

#: From each older version to the next: the statements that get there, run in one transaction.
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: (f"ALTER TABLE cells ADD COLUMN fallback VARCHAR DEFAULT {STAND_INS['cells']['fallback']}",),
    2: (
        "ALTER TABLE runs ADD COLUMN sequence BIGINT",
        f"UPDATE runs SET sequence = {STAND_INS['runs']['sequence']}",
        "ALTER TABLE runs ADD COLUMN faults VARCHAR DEFAULT ''",
        f"UPDATE runs SET faults = {STAND_INS['runs']['faults']}",
    ),
    3: (_FURTHER_FAILURES,),
    4: (_CULPRITS,),
    5: (_TIMINGS,),
    6: (
        "ALTER TABLE runs ADD COLUMN size VARCHAR DEFAULT 'tiny'",
        f"UPDATE runs SET size = {STAND_INS['runs']['size']}",
    ),
    7: (_KEYS,),
}
