"""Intake: from a pasted log or issue text to a scenario that replays it."""

from .reader import read_file, read_report
from .report import Report

__all__ = ["Report", "read_file", "read_report"]
