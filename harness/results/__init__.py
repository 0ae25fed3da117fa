"""What is known from runs: the store, merged files, queries, expectations, tallies."""
