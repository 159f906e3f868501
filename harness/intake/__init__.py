"""Intake: from a pasted log or issue text to a scenario that replays it."""

from lockjaw.harness.intake.reader import read_file, read_report
from lockjaw.harness.intake.report import Report

__all__ = ["Report", "read_file", "read_report"]
