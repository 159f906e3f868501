"""``lockjaw serve model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import AllowRemote, Host, JournalFile, Port, ReadyFd, Seed
from lockjaw.cli.serve.start import Start
from lockjaw.fakes.models.recording import RecordingProxy
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer

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
    start = Start("model server", host, port, journal, allow_remote, ready_fd)
    if record is not None:
        proxy = RecordingProxy(record, script, clock=start.clock, journal=journal)
        start.run(proxy)
        proxy.require_whole()
        return 0
    server = ModelServer(
        load_model_script(script), clock=start.clock, recorder=start.recorder, journal=journal, seed=seed
    )  # fmt: skip
    return 1 if start.run(server) else 0
