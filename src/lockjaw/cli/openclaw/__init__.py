"""``lockjaw openclaw ...``: the real program over its published versions."""
