"""``lockjaw serve ...``: the fakes on their own. Argument parsing and one start-up and shutdown for all of them."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")

serve_app = typer.Typer(help="Run a fake on its own, for any client.", no_args_is_help=True, rich_markup_mode=None)

Script = Annotated[Path, typer.Option(help="YAML script: what it does.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to bind; 0 picks one.")]
Host = Annotated[str, typer.Option(help="Address to bind.")]
JournalFile = Annotated[Path | None, typer.Option("--journal", help="Append what was seen to this JSONL file.")]
Seed = Annotated[int, typer.Option(min=0, help="Root of all its randomness.")]
AllowRemote = Annotated[bool, typer.Option(help="Allow an address that is not loopback: no fake asks who calls.")]
ReadyFd = Annotated[int | None, typer.Option(hidden=True, help="Inherited descriptor for the ready line.")]


@dataclass(frozen=True)
class Start:
    """What every server of ``lockjaw serve`` is started with."""

    what: str
    host: str
    port: int
    journal: Path | None
    seed: int
    allow_remote: bool
    ready_fd: int | None

    def run(
        self,
        serve: Callable[..., Coroutine[Any, Any, T]],
        *subject: object,
        records: bool = False,
        **options: object,
    ) -> T:
        """``serve(*subject, host=.., port=.., ..., **options)`` until SIGTERM or Ctrl-C ends it in order; its result.

        ``records``: it takes a recorder, and writes what it does into the history of a surrounding harness run.
        """
        from lockjaw.clock import ScaledClock
        from lockjaw.process import announce_ready, recorder_from_environment

        clock = ScaledClock.from_environment()
        if records:
            options["recorder"] = recorder_from_environment(os.environ, clock)

        def ready(pid: int, bound: int) -> None:
            announce_ready(self.ready_fd, bound)
            print(f"{self.what} ready on {self.host}:{bound} (pid {pid}); Ctrl-C ends it", file=sys.stderr)

        return asyncio.run(
            serve(
                *subject, host=self.host, port=self.port, journal=self.journal, seed=self.seed,
                allow_remote=self.allow_remote, ready=ready, clock=clock, **options,
            )
        )  # fmt: skip


@serve_app.command("model", short_help="Slow and faulty models.")
def serve_model(
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
) -> None:
    """Serve slow and faulty models until SIGTERM or Ctrl-C.

    Clients of OpenAI (chat completions and Responses: base address .../v1), Anthropic, Gemini and Ollama (base address
    without a path) find what they look for.

    Requests that the script does not expect are told at once. The exit status is 1 if there were any, or if what the
    script expects of its clients did not come true.

    With --record https://api.example.com it answers with what that service answers, and writes the replies and
    their instants to --script, without keys and without what was asked. Served without --record, they come again.
    """
    from lockjaw.fakes.models.recording import record_models
    from lockjaw.fakes.models.server import serve_model as serve

    start = Start("model server", host, port, journal, seed, allow_remote, ready_fd)
    if record is not None:
        start.run(record_models, record, script)
    elif start.run(serve, script, records=True):
        raise typer.Exit(1)


@serve_app.command("gateway", short_help="A scripted gateway: late, refusing, silent, closing.")
def serve_gateway(
    name: Annotated[str | None, typer.Argument(help="A script that comes with Lockjaw; see --list.")] = None,
    script: Annotated[Path | None, typer.Option(help="YAML script of your own: what it does.")] = None,
    list_scripts: Annotated[bool, typer.Option("--list", help="List the scripts that come with Lockjaw.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the named script, to start your own from.")] = False,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where its runs hold session locks, if the script says that they do.")
    ] = None,
    port: Port = 0,
    host: Host = "127.0.0.1",
    journal: JournalFile = None,
    seed: Seed = 1,
    allow_remote: AllowRemote = False,
    ready_fd: ReadyFd = None,
) -> None:
    """Play a gateway that fails in a known way.

    It plays one script: NAME, such as `never_final`, or your own with --script, until SIGTERM or Ctrl-C. A client
    finds it with OPENCLAW_GATEWAY_URL=ws://127.0.0.1:PORT (and any OPENCLAW_GATEWAY_TOKEN).

    Unexpected requests are told at once. The exit status is 1 if there were any, or if what the script expects of
    its clients did not come true.
    """
    from lockjaw.errors import LocalError
    from lockjaw.fakes.gateway import scripts as gateway_scripts
    from lockjaw.fakes.gateway.script import load_gateway_script
    from lockjaw.fakes.gateway.server import serve_gateway as serve

    if list_scripts:
        print_gateway_scripts()
        return
    if (name is None) == (script is None):
        raise LocalError(
            "say which script: NAME (lockjaw serve gateway --list) or --script FILE"
            + (", not both" if name is not None else "")
        )
    if show and name is not None:
        print(gateway_scripts.read_text(name), end="")
        return
    loaded = gateway_scripts.load(name).gateway if name is not None else load_gateway_script(script or "")
    start = Start("mock gateway", host, port, journal, seed, allow_remote, ready_fd)
    if start.run(serve, loaded, records=True, state_dir=state_dir):
        raise typer.Exit(1)


def print_gateway_scripts() -> None:
    """Every ready-made script by group: its name, and what it shows."""
    from lockjaw.fakes.gateway import scripts as gateway_scripts

    for group, scripts in gateway_scripts.listed():
        print(f"{group}:")
        for name, file in scripts.items():
            text = textwrap.fill(" ".join(file.about.split()), 80, initial_indent=" " * 4, subsequent_indent=" " * 4)
            print(f"  {name}\n{text}")


@serve_app.command("link", short_help="A TCP relay with faults on the way.")
def serve_link(
    upstream: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where its connections lead.")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to bind; port 0 picks one.")
    ] = "127.0.0.1:0",
    toxic: Annotated[
        list[str] | None,
        typer.Option(metavar="TOXIC", help="A fault, such as 'latency latency_s=0.2 stream=upstream'. Repeatable."),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Also serve an HTTP API that adds and heals toxics: Toxiproxy's."),
    ] = None,
    name: Annotated[str, typer.Option(help="What journal and API call it.")] = "link",
    journal: JournalFile = None,
    seed: Seed = 1,
    allow_remote: Annotated[
        bool,
        typer.Option(help="Allow addresses that are not loopback: others can then connect, and be connected to."),
    ] = False,
    ready_fd: ReadyFd = None,
) -> None:
    """Relay TCP connections with faults on the way.

    Point a client at it in place of the server; it relays to --upstream until SIGTERM or Ctrl-C.

    The toxics: latency, bandwidth, slicer, stall, limit_data, slow_close, reset_peer, loss, fail_first.
    docs/reference/toxics.md has their keys. They apply in the order in which they are given.
    """
    from lockjaw.fakes.links.link import address_of
    from lockjaw.fakes.links.service import serve_link as serve
    from lockjaw.fakes.links.toxics import parse_toxic

    def told(url: str) -> None:
        print(f"control API on {url}", file=sys.stderr)

    toxics = [parse_toxic(text) for text in toxic or ()]
    host, port = address_of(listen)
    start = Start("link", host, port, journal, seed, allow_remote, ready_fd)
    start.run(serve, upstream, name=name, toxics=toxics, api=api, on_api=told)


@serve_app.command("contender", short_help="Processes that hold, leak, die and lie about a lock.")
def serve_contender(
    session_file: Annotated[Path, typer.Argument(help="The session (a .jsonl file) whose lock they want.")],
    count: Annotated[int, typer.Option(min=1, max=256, help="How many processes at once.")] = 1,
    algorithm: Annotated[str, typer.Option(help="Lock algorithm, as `lockjaw bench locks` names them.")] = "guarded",
    hold: Annotated[
        float | None, typer.Option(min=0, help="Seconds that each holds it. Not given: until the end.")
    ] = None,
    think: Annotated[float, typer.Option(min=0, help="Seconds between a release and the next try.")] = 0.0,
    rounds: Annotated[int, typer.Option(min=0, help="How often each takes it; 0: again and again.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds that each waits for it. Not given: the algorithm's own.")
    ] = None,
    leak: Annotated[bool, typer.Option("--leak", help="Take it, forget it, live on.")] = False,
    kill_at: Annotated[
        str | None, typer.Option(metavar="STEP[:N]", help="kill -9 right before the Nth time of this step.")
    ] = None,
    pause_at: Annotated[
        str | None, typer.Option(metavar="STEP[:N]", help="Stand still (SIGSTOP) right before that step.")
    ] = None,
    pause_for: Annotated[
        float | None, typer.Option(min=0, help="Seconds of that pause. Not given: until the end.")
    ] = None,
    garbage: Annotated[str | None, typer.Option(metavar="TEXT", help="Plant a lock file that holds this.")] = None,
    pid: Annotated[int | None, typer.Option(min=1, help="Plant a lock file that names this process.")] = None,
    recycled: Annotated[
        bool, typer.Option("--recycled", help="Plant one whose owner is gone and whose pid somebody else has.")
    ] = False,
    namespace: Annotated[
        bool, typer.Option("--namespace", help="Run them in a pid namespace of their own, as another container.")
    ] = False,
    journal: JournalFile = None,
    ready_fd: ReadyFd = None,
) -> None:
    """Hold, leak or die with a session's lock.

    Real processes contend for it until they are done, SIGTERM or Ctrl-C. Ready means: one of them has the lock (or
    has died or stopped where it was told to), the others want it. Each thing that happens is one line on stderr. The
    exit status is 1 if one of them did not get the lock.

    STEP is `held` (it has just got the lock) or an operation of the lock's algorithm, such as CreateExclusive,
    LinkFile, WriteInPlace or Unlink; a wrong name lists all. What a killed one leaves behind stays; a planted lock
    file is removed in the end.
    """
    from lockjaw.clock import ScaledClock
    from lockjaw.fakes.contenders.service import Moment, Plan
    from lockjaw.fakes.contenders.service import serve_contender as serve
    from lockjaw.process import announce_ready

    plan = Plan(
        count=count, algorithm=algorithm, timeout_s=timeout, hold_s=hold, think_s=think, rounds=rounds, leak=leak,
        kill_at=None if kill_at is None else Moment.parse(kill_at),
        pause_at=None if pause_at is None else Moment.parse(pause_at),
        pause_s=pause_for, namespace=namespace, garbage=garbage, pid=pid, recycled=recycled,
    )  # fmt: skip

    def ready(own_pid: int) -> None:
        announce_ready(ready_fd, 0)
        print(f"contenders ready on {session_file} (pid {own_pid}); Ctrl-C ends them", file=sys.stderr)

    status = serve(session_file, plan, journal=journal, clock=ScaledClock.from_environment(), ready=ready)
    if status:
        raise typer.Exit(status)
