"""``lockjaw bench locks``: our session lock, its rivals and the libraries people would pick, side by side."""
