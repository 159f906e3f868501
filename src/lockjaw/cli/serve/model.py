"""``lockjaw serve model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import AllowRemote, Host, JournalFile, Port, ReadyFd, Seed
from lockjaw.cli.serve.start import Start
from lockjaw.fakes.models.recording import record_models
from lockjaw.fakes.models.server import serve_model

__all__ = ["model"]


def model(
    script: Annotated[Path, typer.Option(help="YAML script of what the models do. With --record: the file to write.")],
    record: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pass requests on to this service, and record a script that replays it."),
    ] = None,
    port: Port = 0,
    host: Host = "127.0.0.1",
    journal: JournalFile = None,
    seed: Seed = 1,
    allow_remote: AllowRemote = False,
    ready_fd: ReadyFd = None,
) -> int:
    """Serve slow and faulty models until SIGTERM or Ctrl-C.

    It speaks the APIs of OpenAI (chat completions and Responses; base address .../v1), Anthropic, Gemini and Ollama
    (base address without a path).

    It prints each request that the script does not expect, at once. The exit status is 1 if there was one, or if the
    clients did not do what the script expects of them.

    With --record https://api.example.com it passes requests on to that service, answers with its replies, and writes
    them with their times to --script, without keys and without the questions. Served without --record, the script
    gives the same replies again.
    """
    start = Start("model server", host, port, journal, seed, allow_remote, ready_fd)
    if record is not None:
        start.run(record_models, record, script)
        return 0
    return 1 if start.run(serve_model, script, records=True) else 0
