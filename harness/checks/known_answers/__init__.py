"""Known-answer tests: small real inputs of which everyone knows the answer, for real weights."""
