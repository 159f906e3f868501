"""The command line: argument parsing and wiring, no logic of its own.

Imports stay inside the commands: ``lockjaw agent`` must not pay for the harness, nor ``lockjaw run`` for the
gateway. Exit status of the harness commands: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
Exit status of ``lockjaw agent``: 0 answered, 1 no answer, 2 usage, 5 answered but the turn may run twice,
130/143 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lockjaw import __version__
from lockjaw.errors import HarnessError, LocalError, LockjawError, SettingsError, printed
from lockjaw.openclaw_cli import AllowNetwork, CacheFolder, openclaw_app
from lockjaw.serve_cli import serve_app

if TYPE_CHECKING:
    from lockjaw.settings import Settings

EXIT_USAGE = 2
EXIT_HARNESS_FAILED = 4

app = typer.Typer(
    name="lockjaw",
    help=(
        "Replay on this machine how an LLM agent's user gets no answer because a session is locked, and run agents "
        "that answer all the same."
    ),
    epilog="Begin with: lockjaw run gateway_timeout --policy all --engine sim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
gateway_app = typer.Typer(help="Run a gateway.", no_args_is_help=True, rich_markup_mode=None)
locks_app = typer.Typer(
    help="See who holds which session; remove dead locks.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(gateway_app, name="gateway")
app.add_typer(serve_app, name="serve")
app.add_typer(locks_app, name="locks")
bench_app = typer.Typer(
    help="Measure session locks: ours, OpenClaw's and lock libraries.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(bench_app, name="bench")
app.add_typer(openclaw_app, name="openclaw")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
ReadyFd = Annotated[int | None, typer.Option(hidden=True, help="Inherited descriptor for the ready line.")]
StateDir = Annotated[Path | None, typer.Option(help="State folder (default: OPENCLAW_STATE_DIR or ~/.openclaw).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="openclaw.json to read.")]
Token = Annotated[str | None, typer.Option(help="Gateway token (better: OPENCLAW_GATEWAY_TOKEN).")]
Password = Annotated[str | None, typer.Option(help="Gateway password (better: OPENCLAW_GATEWAY_PASSWORD).")]


def main() -> None:
    """Run the command line; every expected error becomes one clear message and its exit status."""
    # Start-up makes objects and no garbage, and looking for some costs a tenth of it. httpx loads its own command
    # line with what draws progress bars, if that is installed; nobody here asks for it.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)  # the interpreter would look, several times, through all that it is about to drop
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from lockjaw.process import watch_lifeline

    watch_lifeline(os.environ)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a reader that has left is still told apart from a failure
    except LocalError as error:
        _fail(str(error), EXIT_USAGE)
    except HarnessError as error:
        _fail(f"lockjaw failed: {error}", EXIT_HARNESS_FAILED)
    except LockjawError as error:
        _fail(printed(error), 1)
    except BrokenPipeError:
        _reader_left()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # click has caught it, and its 1 would mean VIOLATED
            _reader_left()
        if (interrupted := _interruption(ended)) is not None:  # typer has caught it, and kept the status
            _say_interrupted(interrupted)
        raise
    except KeyboardInterrupt as interrupted:
        _say_interrupted(interrupted)
        sys.exit(128 + signal.SIGINT)


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that led to this end."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _say_interrupted(error: KeyboardInterrupt) -> None:
    """One last line, over the terminal's ^C and whatever line of progress stands there."""
    clear = "\r\033[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
    print(f"{clear}{str(error) or 'Interrupted.'}", file=sys.stderr)


def _reader_left() -> NoReturn:
    """The reader of our stdout (head, less) went away. Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _fail(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"lockjaw {__version__}")
        raise typer.Exit


# --------------------------------------------------------------------------- the harness


@app.command("list", short_help="List the scenarios that come with Lockjaw.")
def list_scenarios(
    name: Annotated[list[str] | None, typer.Argument(help="Only these, each in full.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the scenarios that come with Lockjaw, by class of incident."""
    from lockjaw import scenarios
    from lockjaw.harness import load_scenario
    from lockjaw.scenarios import catalogue

    found = [load_scenario(one) for one in name or scenarios.names()]
    if as_json:
        _print_json({"lockjaw": __version__, "command": "list", **catalogue.document(found)})
    elif name:
        print("\n".join(line for scenario in found for line in catalogue.told(scenario)).rstrip())
    else:
        print("\n".join(catalogue.listing(found)).rstrip())


@app.command("catalogue", short_help="Play every scenario: is its file true?")
def play_catalogue(
    scenario: Annotated[list[str] | None, typer.Argument(help="Only these names from `lockjaw list`.")] = None,
    engine: Annotated[str, typer.Option(help="sim, real, or both.")] = "both",
    seed: Annotated[int, typer.Option(min=0, help="Root of all randomness of each run.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Runs of real processes at the same time.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Where run folders go (default: .lockjaw/runs).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Play the catalogue: each baseline must break the laws that its file names, takeover none.

    Exit status: 0 all is as the files say, 1 something is not, 2 usage, 4 the harness failed.
    """
    from lockjaw.catalogue_commands import CatalogueOptions, catalogue_command

    sys.exit(catalogue_command(scenario or (), CatalogueOptions(engine, seed, jobs, out, as_json)))


@app.command(short_help="Run scenarios; the verdict is HELD, VIOLATED or UNKNOWN.")
def run(
    scenario: Annotated[list[str], typer.Argument(help="Names from `lockjaw list`, or paths of YAML files.")],
    policy: Annotated[
        str | None,
        typer.Option(
            help="What the client does when the gateway fails: takeover (default), reuse-session, fresh-session, "
            "no-fallback, baseline (as in the scenario's own era), or all."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="real: operating-system processes; sim: virtual time, exact replay; both: compare them."),
    ] = "real",
    seed: Annotated[int, typer.Option(min=0, help="Root of all randomness of the run.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Run this many seeds, SEED, SEED+1, ...")] = 1,
    time_scale: Annotated[
        float | None,
        typer.Option(
            help="Engine real: seconds that pass for each second that is written (default: the scenario's, mostly "
            "0.04: a wait of 90 s takes 3.6 s)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where run folders go (default: .lockjaw/runs).")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write Markdown, for an issue or a CI summary, to this file.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Say what changed since: kept runs, or a `run --json` document.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(help="builtin, or openclaw@VERSION: the real program (with --policy: our client, its gateway)."),
    ] = "builtin",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    as_json: JsonFlag = False,
) -> None:
    """Run scenarios (one incident each) and say HELD, VIOLATED or UNKNOWN.

    HELD: every law held, such as "the user gets an answer" or "the turn runs once". VIOLATED: one was broken. UNKNOWN:
    the run never got into the danger, so it proves nothing.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
    With --baseline only what is worse than it, or new, counts.
    """
    from lockjaw.commands import RunOptions, run_command

    if target != "builtin":
        from lockjaw.harness.targets.openclaw.campaign import Options
        from lockjaw.openclaw_commands import run_against

        if engine != "real":
            raise SettingsError("--engine", "", "real (with --target: a real program cannot be simulated)", engine)
        real = Options(cache, allow_network, policy, out=out, seed=seed, time_scale=time_scale)
        sys.exit(run_against(scenario, target, real, as_json=as_json, junit_file=junit, markdown_file=markdown))
    options = RunOptions(policy or "takeover", engine, seed, seeds, time_scale, out, junit, markdown, as_json, baseline)
    sys.exit(run_command(scenario, options))


RunDir = Annotated[Path, typer.Argument(help="A run folder, such as .lockjaw/runs/latest.")]


@app.command(short_help="Repeat a kept run or a KIT.zip exactly.")
def replay(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a KIT.zip that somebody sent you.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the new run goes (default: beside the old one; a kit: .lockjaw/runs).")
    ] = None,
    yes_real: Annotated[
        bool, typer.Option("--yes-real", help="Let a kit run the tool calls of its script on this machine.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run again what a run folder or a kit holds, and compare verdict and steps.

    A simulated run repeats exactly, down to the event hash. Real processes repeat the verdict and the steps.

    Exit status: that of the verdict; 4 when the replay went another way.
    """
    from lockjaw.commands import replay_command

    sys.exit(replay_command(run_dir, as_json=as_json, out=out, yes_real=yes_real))


@app.command("kit", short_help="Pack a run into a zip to share.")
def make_kit(
    run_dir: RunDir,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KIT.zip", help="The zip file to write.")],
    keep_text: Annotated[
        bool,
        typer.Option("--keep-text", help="Keep what users and models say (but not the secrets in it)."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Pack a run into one zip that replays elsewhere and is safe to attach to a public issue.

    Tokens, keys, phone numbers, addresses, names of users and hosts, ids and message texts are replaced by pseudonyms.

    Exit status: 0 the kit was written, 2 usage, 4 the run does not repeat, or something private would have leaked.
    """
    from lockjaw.kit_commands import KitOptions, kit_command

    sys.exit(kit_command(run_dir, KitOptions(out, keep_text, force, as_json)))


@app.command(short_help="Make a pasted log or issue happen here.")
def reproduce(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A pasted log or issue text; - reads stdin.")],
    seeds: Annotated[int, typer.Option(min=1, help="Simulated runs at most.")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="Real seconds at most for the search.")] = 60.0,
    policy: Annotated[
        str | None, typer.Option(help="Whose behaviour to replay (default: what the report speaks for).")
    ] = None,
    yes_real: Annotated[bool, typer.Option("--yes-real", help="Replay the best run on real processes too.")] = False,
    scenario: Annotated[
        Path | None, typer.Option(help="Write the scenario to this file (default: below .lockjaw/reproduced).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where run folders go (default: .lockjaw/runs).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Understand a pasted report, compose a scenario, and search for the run that prints its errors.

    Exit status: 0 reproduced, 2 usage, 3 not reproduced (or no lock incident), 4 the harness failed, 130 interrupted.
    """
    from lockjaw.intake_commands import ReproduceOptions, reproduce_command

    options = ReproduceOptions(policy, seeds, seconds, yes_real, out, scenario, as_json)
    sys.exit(reproduce_command(file, options))


@app.command("explore", short_help="Search many schedules for a broken law.")
def explore_scenario(
    scenario: Annotated[
        str | None, typer.Argument(help="A name from `lockjaw list`, or the path of a YAML file.")
    ] = None,
    all_of_them: Annotated[
        bool,
        typer.Option("--all", help="Every scenario: its baseline must break its laws in each seed, takeover none."),
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, help="Runs at most; 0: one for each place of delays, crash or fault.")
    ] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that search at the same time.")] = 1,
    policy: Annotated[
        str | None,
        typer.Option(help="takeover (default), baseline, or another; with --all by default baseline and takeover."),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="random, priority (few far-reaching freezes), delays (freeze each operation), crash (kill at each), "
            "fault (fail each)."
        ),
    ] = "random",
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 1,
    twice: Annotated[bool, typer.Option("--twice", help="Run each seed twice and compare the event hashes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where runs that fail are kept (default: .lockjaw/runs).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Search many schedules of a scenario in virtual time; shrink what fails, and say how to replay it.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed, 130 interrupted without a finding.
    """
    if all_of_them == (scenario is not None):
        raise SettingsError("explore", "", "a scenario, or --all", scenario)
    if scenario is None:
        from lockjaw.catalogue_commands import ExploreAllOptions, explore_all_command

        if strategy != "random" or twice or not seeds:
            raise SettingsError("explore --all", "", "strategy random, a number of seeds, and no --twice", strategy)
        sys.exit(explore_all_command(ExploreAllOptions(policy, seeds, seed, workers, out, as_json)))
    from lockjaw.explore_commands import ExploreOptions, explore_command

    options = ExploreOptions(policy or "takeover", strategy, seeds, seed, workers, twice, out, as_json)
    sys.exit(explore_command(scenario, options))


@app.command(short_help="Show a kept run again, or draw it.")
def report(
    run_dir: RunDir,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Markdown for an issue, on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the page with the picture to this file.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write the run as Chrome trace JSON (for ui.perfetto.dev) to this file.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN_DIR",
            help="Say where that run parts from this one; with --html draw both. May be given 4 times.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a kept run again: as text, Markdown, a page with a picture, or a trace.

    Exit status: that of the verdict (with --compare: of all the runs).
    """
    from lockjaw.commands import ReportOptions, report_command

    options = ReportOptions(as_markdown, as_json, html, trace, tuple(compare or ()))
    sys.exit(report_command(run_dir, options))


# --------------------------------------------------------------------------- the runtime


@app.command(short_help="Ask an agent; a drop-in for `openclaw agent`.")
def agent(
    message: Annotated[str, typer.Option("--message", "-m", help="The user's text.")],
    agent_id: Annotated[str | None, typer.Option("--agent", help="Agent whose main session is asked.")] = None,
    to: Annotated[str | None, typer.Option("--to", "-t", help="Recipient whose session is asked.")] = None,
    session_id: Annotated[str | None, typer.Option(help="Session to ask.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Seconds for one run; 0 means no limit (default: the configuration's).")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="When the gateway fails: takeover, reuse-session, fresh-session or no-fallback.")
    ] = "takeover",
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds that a takeover may take after the deadline.")
    ] = 600.0,
    local: Annotated[bool, typer.Option("--local", help="Run the turn in this process; ask no gateway.")] = False,
    as_json: JsonFlag = False,
    url: Annotated[str | None, typer.Option(help="Gateway address, ws:// or wss://.")] = None,
    token: Token = None,
    password: Password = None,
    state_dir: StateDir = None,
    config: ConfigFile = None,
    ready_fd: ReadyFd = None,
    go_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Ask an agent through the gateway, and take the turn over when the gateway does not answer.

    A drop-in for `openclaw agent`: same state folder, same wire, same files.

    Exit status: 0 answered, 1 no answer, 2 usage, 5 answered but the turn may run twice, 130/143 interrupted.
    """
    from lockjaw.process import appear_as_openclaw
    from lockjaw.runner.agent import AgentRequest, agent_main

    appear_as_openclaw("agent")
    settings = _load_settings(state_dir=state_dir, config_path=config, url=url, token=token, password=password)
    request = AgentRequest(
        message=message, agent_id=agent_id, to=to, session_id=session_id, timeout_s=_timeout(timeout),
        policy=_policy(policy), patience_s=patience, local=local, as_json=as_json,
    )  # fmt: skip
    sys.exit(agent_main(settings, request, ready_fd=ready_fd, go_fd=go_fd))


@gateway_app.command("run")
def gateway_run(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to bind; 0 picks one (default: the configuration's, else 18789)."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Behave like the version that has this fallback policy (takeover: Lockjaw's own).")
    ] = "takeover",
    drain: Annotated[float, typer.Option(min=0, help="Seconds that running turns may take after SIGTERM.")] = 5.0,
    token: Token = None,
    password: Password = None,
    state_dir: StateDir = None,
    config: ConfigFile = None,
    ready_fd: ReadyFd = None,
) -> None:
    """Run a gateway on loopback until SIGTERM or Ctrl-C."""
    from lockjaw.process import appear_as_openclaw
    from lockjaw.runner.service import gateway_main

    appear_as_openclaw("gateway")
    settings = _load_settings(state_dir=state_dir, config_path=config, port=port, token=token, password=password)
    sys.exit(gateway_main(settings, policy=_policy(policy), drain_s=drain, ready_fd=ready_fd))


# --------------------------------------------------------------------------- locks


@locks_app.command("list", short_help="Owner, alive or not and why, age, who waits.")
def locks_list(
    directory: Annotated[Path, typer.Argument(help="A state folder or a sessions folder.")],
    as_json: JsonFlag = False,
) -> None:
    """List session locks: owner, alive or not and why, age, hold limit, who waits. Changes nothing."""
    from lockjaw.locking.listing import list_locks, render_locks

    rows = list_locks(directory)
    if as_json:
        _print_json({"lockjaw": __version__, "command": "locks list", "locks": [row.document() for row in rows]})
    else:
        print(render_locks(rows, directory))


@locks_app.command("clean", short_help="Remove locks whose owners are proven dead.")
def locks_clean(
    directory: Annotated[Path, typer.Argument(help="A state folder or a sessions folder.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove the locks whose owners are proven dead, and say why each other one stays.

    Never a live owner's, however old; never on age alone; never across a pid namespace; never a file that cannot be
    read or names nobody. Safe while gateways and clients are at work.

    Exit status: 0 what is left has a live owner, 1 something was refused, 2 usage.
    """
    from lockjaw.locking.cleaning import clean_locks, exit_status, render_cleaned
    from lockjaw.process import appear_as_openclaw

    appear_as_openclaw("locks")  # it holds each lock for a moment
    cleaned = clean_locks(directory, dry_run=dry_run)
    if as_json:
        shown = [one.document() for one in cleaned]
        _print_json({"lockjaw": __version__, "command": "locks clean", "dry_run": dry_run, "locks": shown})
    else:
        print(render_cleaned(cleaned, directory))
    sys.exit(exit_status(cleaned))


@bench_app.command("locks", short_help="All of them side by side: speed, and who starves.")
def bench_locks(
    full: Annotated[bool, typer.Option("--full/--quick", help="Everything (about 20 minutes), or one minute.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for locks.json, locks.md and locks.svg.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Our session lock, its rivals and lock libraries side by side: speed, and who starves."""
    from lockjaw.harness.bench.command import bench_locks as bench

    sys.exit(bench(full=full, as_json=as_json, out=out))


# --------------------------------------------------------------------------- shared pieces


def _load_settings(**flags: Any) -> Settings:
    from lockjaw.settings import load

    return load(os.environ, **flags)


def _policy(name: str) -> str:
    from lockjaw.behaviours import BEHAVIOURS

    if name not in BEHAVIOURS:
        raise SettingsError("--policy", "", f"one of {', '.join(BEHAVIOURS)}", name)
    return name


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isdigit():
        raise SettingsError("--timeout", "", "a non-negative integer (seconds; 0 means no timeout)", text)
    return float(text)


if __name__ == "__main__":
    main()
