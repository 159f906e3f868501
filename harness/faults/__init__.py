"""Faults: what is done to which actor or link, and when."""
