"""Which verbs there are, what each is for in one line, and in which module it is.

A verb's module is imported when the verb is used: ``lockjaw agent`` must not pay for the harness, nor ``lockjaw run``
for the gateway; ``lockjaw --help`` pays for neither. So the modules of verbs import what they need at their top.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from lockjaw import __version__
from lockjaw.visible import show

__all__ = ["command_line", "walk"]

Function = Callable[..., int | None]

#: Verb -> what ``--help`` says of it where it lists them. A name of two words is in the group of the first.
ABOUT = {
    "list": "List the scenarios that come with Lockjaw.",
    "catalogue": "Play every scenario and check what its file says.",
    "run": "Run scenarios; the verdict is HELD, VIOLATED or UNKNOWN.",
    "replay": "Repeat a kept run or a KIT.zip exactly.",
    "kit": "Pack a run into a zip to share.",
    "reproduce": "Make a pasted log or issue happen here.",
    "explore": "Search many schedules for a broken law.",
    "report": "Show a kept run again, or draw it.",
    "scenario": "Write an incident of your own.",
    "scenario new": "A commented file that runs.",
    "scenario check": "Everything that is wrong with a file.",
    "scenario show": "The YAML of a built-in scenario.",
    "scenario schema": "JSON Schema, for editors.",
    "agent": "Ask an agent; a drop-in for `openclaw agent`.",
    "gateway": "Run a gateway.",
    "gateway run": "Run a gateway on loopback until SIGTERM or Ctrl-C.",
    "serve": "Run a fake on its own, for any client.",
    "serve model": "Slow and faulty models.",
    "serve gateway": "A scripted gateway: late, refusing, silent, closing.",
    "serve link": "A TCP relay with faults on the way.",
    "serve mcp": "A tool with effects: slow, failing, dying unanswered.",
    "serve contender": "Processes that hold, leak, die and lie about a lock.",
    "locks": "See who holds which session; remove dead locks.",
    "locks list": "Owner, alive or not and why, age, who waits.",
    "locks clean": "Remove locks whose owners are proven dead.",
    "sessions": "Take sessions out of their store.",
    "sessions export": "As OpenClaw's files, from SQLite or JSONL; not redacted.",
    "bench": "Measure session locks: ours, OpenClaw's and lock libraries.",
    "bench locks": "All of them side by side: speed and fairness.",
    "target": "Run incidents against other people's runtimes, or yours.",
    "target list": "The runtimes that can be played by name.",
    "target check": "What works for a runtime, and what cannot be seen of it.",
    "target matrix": "Runtimes against scenarios, several runs a cell.",
    "target bisect": "The first version with another verdict.",
    "target demo": "The incident with a runtime's own client, and with Lockjaw's.",
    "target table": "Kept runs as a table of runtimes and scenarios.",
    "openclaw": "Run incidents against the real OpenClaw, by version.",
    "openclaw install": "Install versions (600 MB and a minute each).",
    "openclaw demo": "The incident, with each of the two command lines.",
    "openclaw matrix": "Scenarios against versions, as a table.",
    "openclaw bisect": "As `target bisect openclaw`.",
    "openclaw fidelity": "Versions beside the policies that model them.",
}


def function_of(verb: str) -> Function:
    """The function that is the verb. Imports its module, and nothing before."""
    match verb:
        case "list":
            from lockjaw.cli import listing

            return listing.list_scenarios
        case "catalogue":
            from lockjaw.cli import catalogue

            return catalogue.catalogue
        case "run":
            from lockjaw.cli import run

            return run.run
        case "replay":
            from lockjaw.cli import replay

            return replay.replay
        case "kit":
            from lockjaw.cli import kit

            return kit.kit
        case "reproduce":
            from lockjaw.cli import reproduce

            return reproduce.reproduce
        case "explore":
            from lockjaw.cli import explore

            return explore.explore
        case "report":
            from lockjaw.cli import report

            return report.report
        case "scenario new":
            from lockjaw.cli.scenario import new

            return new.new
        case "scenario check":
            from lockjaw.cli.scenario import check

            return check.check
        case "scenario show":
            from lockjaw.cli.scenario import show as show_scenario

            return show_scenario.show
        case "scenario schema":
            from lockjaw.cli.scenario import schema

            return schema.schema
        case "agent":
            from lockjaw.cli import agent

            return agent.agent
        case "gateway run":
            from lockjaw.cli import gateway

            return gateway.run
        case "serve model":
            from lockjaw.cli.serve import model

            return model.model
        case "serve gateway":
            from lockjaw.cli.serve import gateway as fake_gateway

            return fake_gateway.gateway
        case "serve link":
            from lockjaw.cli.serve import link

            return link.link
        case "serve mcp":
            from lockjaw.cli.serve import mcp

            return mcp.mcp
        case "serve contender":
            from lockjaw.cli.serve import contender

            return contender.contender
        case "locks list":
            from lockjaw.cli import locks

            return locks.list_locks
        case "locks clean":
            from lockjaw.cli import locks

            return locks.clean_locks
        case "sessions export":
            from lockjaw.cli import sessions

            return sessions.export
        case "bench locks":
            from lockjaw.cli import bench

            return bench.locks
        case "openclaw install":
            from lockjaw.cli.openclaw import install

            return install.install
        case "openclaw demo":
            from lockjaw.cli.openclaw import demo

            return demo.demo
        case "target list":
            from lockjaw.cli.target import listing as targets

            return targets.list_targets
        case "target check":
            from lockjaw.cli.target import listing as targets

            return targets.check
        case "target table":
            from lockjaw.cli.target import table as target_table

            return target_table.table
        case "target matrix":
            from lockjaw.cli.target import matrix as target_matrix

            return target_matrix.matrix
        case "target bisect":
            from lockjaw.cli.target import bisect as target_bisect

            return target_bisect.bisect
        case "target demo":
            from lockjaw.cli.target import demo as target_demo

            return target_demo.demo
        case "openclaw matrix":
            from lockjaw.cli.openclaw import matrix

            return matrix.matrix
        case "openclaw bisect":
            from lockjaw.cli.openclaw import bisect

            return bisect.bisect
        case "openclaw fidelity":
            from lockjaw.cli.openclaw import fidelity

            return fidelity.fidelity
    raise AssertionError(f"{verb} is in ABOUT and in no module")


def _version(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    if version:
        show(f"lockjaw {__version__}")
        raise typer.Exit


def command_line() -> TyperGroup:
    """The whole command line as one click command; the verbs in it are loaded when they are used."""
    root = _typer(
        "",
        help=(
            "Replay on this machine how an LLM agent's user gets no answer because a session is locked, and run agents "
            "that answer all the same."
        ),
        epilog="Begin with: lockjaw run gateway_timeout --policy all --engine sim",
    )
    root.callback(invoke_without_command=True)(_version)
    command = typer.main.get_command(root)
    assert isinstance(command, TyperGroup)
    return command


def walk(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path, groups included: loads all of them."""
    group = command_line() if group is None else group
    yield path, group
    if isinstance(group, _Group):
        for name in group.commands:
            yield from walk(group.get_command(None, name), (*path, name))


class _Group(TyperGroup):
    """A group whose members are names until one is asked for. ``prefix``: what stands before their names in ABOUT."""

    prefix = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names = [verb.removeprefix(self.prefix) for verb in ABOUT if verb.startswith(self.prefix)]
        self.commands = dict.fromkeys(name for name in names if " " not in name)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            return None
        verb = f"{self.prefix}{cmd_name}"
        if any(other.startswith(f"{verb} ") for other in ABOUT):
            group = _typer(f"{verb} ", help=ABOUT[verb])
            group.callback()(lambda: None)
            return typer.main.get_command(group)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        alone.command(cmd_name)(_ending(function_of(verb)))
        return typer.main.get_command(alone)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _plain(error.message)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, ABOUT[f"{self.prefix}{name}"]) for name in self.commands])


#: What the library that converts values says, and what we say.
_WORDING = (
    (r"Input should be a valid integer\b.*", "expected a whole number"),
    (r"Input should be a valid number\b.*", "expected a number"),
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"expected \1 or less"),
    (r"Input should be greater than (\S+)", r"expected more than \1"),
    (r"Input should be less than (\S+)", r"expected less than \1"),
)


def _plain(message: str) -> str:
    for theirs, ours in _WORDING:
        message = re.sub(theirs, ours, message)
    return message


def _typer(prefix: str, **settings: Any) -> typer.Typer:
    group: Any = type("_Group", (_Group,), {"prefix": prefix})
    return typer.Typer(
        cls=group, no_args_is_help=True, add_completion=not prefix, pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}, **settings,
    )  # fmt: skip


def _ending(function: Function) -> Function:
    """The function with its result as the exit status of this process."""

    @functools.wraps(function)
    def ending(*args: Any, **flags: Any) -> None:
        sys.exit(function(*args, **flags) or 0)

    return ending
