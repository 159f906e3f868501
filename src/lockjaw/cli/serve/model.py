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
    script: Annotated[Path, typer.Option(help="YAML script: what it does. With --record: the file to write.")],
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

    Clients of OpenAI (chat completions and Responses: base address .../v1), Anthropic, Gemini and Ollama (base address
    without a path) find what they look for.

    Requests that the script does not expect are told at once. The exit status is 1 if there were any, or if what the
    script expects of its clients did not come true.

    With --record https://api.example.com it answers with what that service answers, and writes the replies and
    their instants to --script, without keys and without what was asked. Served without --record, they come again.
    """
    start = Start("model server", host, port, journal, seed, allow_remote, ready_fd)
    if record is not None:
        start.run(record_models, record, script)
        return 0
    return 1 if start.run(serve_model, script, records=True) else 0
