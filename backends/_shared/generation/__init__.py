"""Generation on a backend that compiles: transformers' `generate()` on graphs with explicit caches.

`call_parts` takes the arguments of a call apart into tensors and the rest, `step_case` makes a case
of one call, which any backend prepares as it does a whole model, and `stepwise` has `generate()`
call the programs.
"""
