"""``lockjaw scenario ...``: write an incident of one's own."""
