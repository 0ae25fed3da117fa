"""What a pass is worth: controls, variants of the inputs, generation, properties of families."""
