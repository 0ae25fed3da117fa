"""Code that several backends share; a folder whose name begins with `_` is no backend."""
