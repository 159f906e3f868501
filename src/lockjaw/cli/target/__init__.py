"""``lockjaw target ...``: other people's runtimes."""
