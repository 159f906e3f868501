"""Judges a run: checkers, outcome, skeleton, agreement of the worlds, comparison with a baseline."""
