"""Other people's runtimes as worlds of a run."""
