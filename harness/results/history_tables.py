"""SQL of the history: of every cell the runs in which its state changed, and totals of each run.

The state of a cell is its outcome, stage, verdict and cause. Two hundred nights in which nothing
changes are one row a cell, so that the history of a folder is about as large as its last results.
The screening process makes the tables of one file (`of_one_file`), `harness.results.merged` joins
those of all files (`OF_ALL_FILES`).
"""

from __future__ import annotations

#: The tables: the state that a cell took in a run, and the counts of a run in one precision.
#: `median_inference` is in seconds, over the passing cells of the run.
SCHEMA = """
CREATE TABLE history (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    cause VARCHAR NOT NULL);
CREATE TABLE run_totals (
    run_id VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    cells BIGINT NOT NULL,
    judged BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    unexpected BIGINT NOT NULL,
    median_inference DOUBLE);
"""

#: A condition of a row whose state is not that of the row before it.
_STATE = "(stage, outcome, verdict, cause)"
_CHANGED = f"{_STATE} IS DISTINCT FROM lag({_STATE})"

#: Into the database of all files, from the clean copy of one.
COPY = (
    """
    INSERT INTO history BY NAME SELECT * FROM source.history
    ANTI JOIN main.history USING (run_id, entry, head, precision)
    """,
    """
    INSERT INTO run_totals BY NAME SELECT * FROM source.run_totals
    ANTI JOIN main.run_totals USING (run_id, precision)
    """,
)

#: Numbers of the runs in the order in which they count, and the changed states of listed cells.
#: The last result of a cell ends its history, whichever file it is from.
OF_ALL_FILES = f"""
CREATE TABLE run_numbers AS
SELECT run_id, row_number() OVER (ORDER BY effective_start, sequence, run_id) AS number FROM runs;
CREATE TABLE changes AS
SELECT number, run_id, backend, entry, head, precision, stage, outcome, verdict, reason, cause
FROM (
    SELECT run_id, entry, head, precision, stage, outcome, verdict, reason, cause FROM history
    UNION
    SELECT run_id, entry, head, precision, stage, outcome, verdict, reason, cause FROM latest
    ANTI JOIN history USING (run_id, entry, head, precision)
) JOIN run_numbers USING (run_id) JOIN runs USING (run_id) SEMI JOIN listed USING (entry)
QUALIFY {_CHANGED} OVER (
    PARTITION BY backend, entry, head, precision ORDER BY number);
"""


def of_one_file(cells: str, metrics: str, texts: str, not_green: str) -> str:
    """SQL that fills `clean.history` and `clean.run_totals` from the rows of one file that hold.

    Args:
        cells: SQL of the file's cells, with their `row`.
        metrics: SQL of its metrics.
        texts: SQL of the columns reason and cause, cut to their longest.
        not_green: SQL of a verdict that is not green.
    """
    return f"""
        CREATE TEMP VIEW counted AS
        SELECT judged.*, backend, sequence FROM judged JOIN clean.runs USING (run_id)
        WHERE broken IS NULL AND fallback = '' AND faults = '' AND size = 'tiny';
        CREATE TABLE clean.history AS
        SELECT run_id, entry, head, precision, stage, outcome, verdict, {texts}
        FROM (
            FROM counted JOIN (SELECT row, stage, reason, cause FROM {cells}) USING (row)
            QUALIFY {_CHANGED} OVER (
                PARTITION BY backend, entry, head, precision ORDER BY sequence, run_id, row)
        );
        CREATE TABLE clean.run_totals AS
        SELECT run_id, precision, count(*) AS cells,
            count(*) FILTER (outcome <> 'absent') AS judged,
            count(*) FILTER (outcome = 'pass') AS passed,
            count(*) FILTER ({not_green}) AS unexpected,
            median(value) FILTER (outcome = 'pass' AND isfinite(value) AND value >= 0)
                AS median_inference
        FROM counted LEFT JOIN (
            SELECT run_id, entry, head, precision, value FROM {metrics} WHERE name = 'inference'
        ) USING (run_id, entry, head, precision)
        GROUP BY run_id, precision;
    """
