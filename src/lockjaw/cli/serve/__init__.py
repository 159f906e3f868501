"""``lockjaw serve ...``: the fakes on their own, one file each; ``start`` is how all of them start and end."""
