"""Results of runs: the store, merged files, queries, coverage, expectations."""
