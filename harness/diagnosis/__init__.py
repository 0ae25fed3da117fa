"""From a verdict to its cause: what narrows a failure down, and what shows it to others."""
