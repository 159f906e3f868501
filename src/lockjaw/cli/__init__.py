"""The command line: one file a verb, and in it one function whose parameters are the flags.

``app`` runs it and turns what happens into an exit status, ``verbs`` knows which module each verb is in, ``options``
has the flags that several verbs share, ``progress`` says how far a verb is, ``pages`` writes the pages of runs.
Exit status of the harness commands: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed. Exit status of
``lockjaw agent``: 0 answered, 1 no answer, 2 usage, 5 answered but the turn may run twice, 130/143 interrupted.
"""

from lockjaw.cli.app import EXIT_HARNESS_FAILED, EXIT_USAGE, main

__all__ = ["EXIT_HARNESS_FAILED", "EXIT_USAGE", "main"]
