"""Writes docs/reference/ and scenarios/README.md from the registries of the code, so that they cannot go stale.

    python docs/generate.py            write the pages
    python docs/generate.py --check    say which pages are not current; exit status 1 if any

``tests/test_docs.py`` runs the check.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from lockjaw import cli, process, scenarios, settings, visible
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.cli.kit import EXIT_MADE
from lockjaw.cli.sessions import EXIT_HELD
from lockjaw.documents.yaml import read_document
from lockjaw.fakes.gateway import script as gateway_script
from lockjaw.fakes.gateway import scripts as gateway_scripts
from lockjaw.fakes.links import toxics
from lockjaw.fakes.models import script as model_script
from lockjaw.harness import load_scenario
from lockjaw.harness.faults import FAULTS, Fault
from lockjaw.harness.faults.base import AtOperation
from lockjaw.harness.incident import scenario, timing
from lockjaw.harness.incident.schema import SCHEMA_FILE, comments, schema, structs_in
from lockjaw.harness.judge.checkers import CHECKERS, law_of
from lockjaw.harness.targets import table as other_runtimes
from lockjaw.harness.targets.kept import cells_summarised
from lockjaw.history import OPERATIONS
from lockjaw.locking import LOCK_ALGORITHMS
from lockjaw.locking.cleaning import EXIT_REFUSED
from lockjaw.locking.states import TRANSITIONS, diagram
from lockjaw.runner import agent
from lockjaw.scenarios import catalogue
from lockjaw.verdict import Verdict

sys.path.insert(0, str(Path(__file__).parent))
from markdown_pieces import code, keys, kind, prose, structs, table
from python_pages import command_line, lock_api, plugin

FOLDER = Path(__file__).resolve().parent / "reference"
SUMMARY = FOLDER.parent / "other-runtimes.json"
SEARCHED = FOLDER.parent / "benchmarks" / "schedules.json"
FILLED = (FOLDER.parent / "against-other-runtimes.md", FOLDER.parents[1] / "README.md")
CODEX_SCENARIO = "fallback_meets_active_writer"
GENERATED = "<!-- Written by docs/generate.py; edit the code that it reads. -->"


def main(arguments: Sequence[str]) -> int:
    stale = []
    pages = [(path, page(render)) for path, render in [*((FOLDER / f"{n}.md", r) for n, r in PAGES.items()), CATALOGUE]]
    for path, text in [*pages, (SCHEMA, schema_text())]:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in FILLED:
        text = filled(path.read_text(encoding="utf-8"))
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    done = "not current" if "--check" in arguments else "written"
    print(f"{done}: {', '.join(stale) or 'none'}")
    return 1 if stale and "--check" in arguments else 0


def page(render: Callable[[], Iterable[str]]) -> str:
    return "\n\n".join([GENERATED, *render()]) + "\n"


# --------------------------------------------------------------------------- what kept runs of other runtimes came to


def filled(text: str) -> str:
    """A page with its generated parts made anew: what stands between ``<!-- other-runtimes: PART -->`` and ``<!-- end
    -->``."""
    cells = cells_summarised(SUMMARY)
    scenarios = scenarios_of_others()
    versions = [cell for cell in cells if cell.target.startswith("codex@")]
    newest = max((cell.target for cell in versions), default="")
    across = [cell for cell in cells if cell not in versions or cell.target == newest]
    parts = {
        "table": other_runtimes.markdown(across, scenarios),
        "marks": other_runtimes.marks(across, scenarios),
        "unknowns": other_runtimes.unknowns(across),
        "codex": other_runtimes.markdown([cell for cell in versions if cell.scenario == CODEX_SCENARIO]),
    }
    return _PART.sub(lambda found: f"{found[1]}\n\n{parts[found[2]]}\n\n{found[3]}", text)


def scenarios_of_others() -> list[str]:
    """The scenarios that other people's programs can play."""
    return [name for name in scenario.builtin_names() if load_scenario(name).outside is not None]


_PART = re.compile(r"(<!-- other-runtimes: (\w+) -->).*?(<!-- end -->)", re.DOTALL)


# --------------------------------------------------------------------------- pages


def scenario_list() -> Iterator[str]:
    yield "# Scenarios"
    yield "The incidents that come with Lockjaw. `lockjaw run NAME` replays one."
    for name in scenarios.names():
        one = load_scenario(name)
        yield f"## {name}"
        yield " ".join(one.story.split())
        yield f"Class {', '.join(one.classes)}; reports: {', '.join(one.reports) or 'none'}."
        yield schedules_of(one)
        if one.faults:
            yield "Faults: " + "; ".join(fault_words(fault) for fault in one.faults) + "."
        yield "Counts only if: " + "; ".join(some.says for some in one.sometimes) + "."
        rows = [(code(policy), ", ".join(map(code, broken)) or "HELD") for policy, broken in sorted(one.expect.items())]
        if rows:
            yield table(("policy", "laws that it breaks"), rows)


def schedules_of(one: scenario.Scenario) -> str:
    """How many ways a search saw its actors meet in, and why there are few."""
    measured = json.loads(SEARCHED.read_text()).get(one.name)
    if measured is None:
        return "Not in the [table of what was searched](schedules.md) yet."
    found = measured["random"]
    ways = (
        f"[Searched](schedules.md): {found['runs']} runs showed {found['different']} different schedules, "
        f"{found['races_both_ways']} races both ways."
    )
    return f"{ways} Few, because: {' '.join(one.few_schedules.split())}" if one.few_schedules else ways


def searched() -> Iterator[str]:
    yield "# What the search saw"
    yield (
        "Under takeover, of each scenario: the first seeds of the default strategy (`random`), and as many places of "
        "the sweeps of delays and of crashes, evenly spaced. *Different*: schedules. A run in which time falls ends "
        "the measurement with an error; none did. Measured with"
    )
    yield "```console\n$ python tests/benchmarks/schedules.py\n```"
    data = json.loads(SEARCHED.read_text())
    strategies = list(next(iter(data.values())))
    rows = [
        (code(name), *(shown for one in strategies for shown in searched_cells(found[one])))
        for name, found in data.items()
    ]
    yield table(
        ("scenario", *(f"{one}: {what}" for one in strategies for what in ("runs", "different", "broke"))), rows
    )
    runs = sum(found[one]["runs"] for found in data.values() for one in strategies)
    seconds = sum(found[one]["cpu_s"] for found in data.values() for one in strategies)
    broken = Counter[str]()
    for found in data.values():
        for one in strategies:
            broken.update(found[one]["broken"])
    said = ", ".join(f"{code(law)} {count}" for law, count in sorted(broken.items())) or "no law"
    yield f"{runs:,} runs in {seconds:,.0f} CPU s; broken in them: {said} ([limits](../concepts/limits.md))."


def searched_cells(found: Mapping[str, Any]) -> tuple[str, int, str]:
    of = f" of {found['places']:,}" if found["places"] > found["runs"] else ""
    return (
        f"{found['runs']}{of}", found["different"],
        ", ".join(f"{code(law)} {count}" for law, count in found["broken"].items()) or "-",
    )  # fmt: skip


def fault_words(fault: Fault) -> str:
    if isinstance(fault, AtOperation) and fault.before is not None:
        return str(fault) + (f", for {fault.for_s:g} s" if fault.for_s else "")
    if fault.when is None:
        when = f"at {fault.at_s:g} s"
    else:
        data = "".join(f" {key}={value}" for key, value in fault.when.data.items())
        which = f" number {fault.nth}" if fault.nth > 1 else ""
        when = f"{fault.after_s:g} s after `{fault.when.op}{data}`{which}"
    return f"{fault} {when}" + (f", and up to {fault.jitter_s:g} s later" if fault.jitter_s else "")


def scenario_file() -> Iterator[str]:
    yield "# The scenario file"
    yield (
        "One YAML file is one scenario: [Write a scenario](../how-to/write-a-scenario.md). Durations (`_s`) are "
        "nominal seconds. `lockjaw scenario check` says everything that is wrong with a file; `lockjaw scenario "
        "schema` is what editors need. The steps of a scripted actor are told apart by `do`, actors by `kind`."
    )
    kept = [one for one in structs_in(scenario.Scenario) if not issubclass(one, Fault)]
    for cls in kept:
        tag, named = cls.__struct_config__.tag_field, cls.__struct_config__.tag
        yield f"## {cls.__name__}" + (f" (`{tag}: {named}`)" if tag else "")
        yield keys(cls)
    yield "## Fault"
    yield (
        "One act of the nemesis: what (`action`), to whom (`target`: an actor, or a link), and when: at a time, some "
        "time after a record, or, where the fault has the key `before`, right before an operation of the target."
    )
    yield keys(timing.Timing)
    common = {*timing.Timing.__struct_fields__, "target"}
    for action, fault in FAULTS.items():
        where = "" if len(fault.worlds) > 1 else f" Only the {'simulation' if fault.worlds == ('sim',) else 'machine'}."
        yield f"### {action}"
        yield keys(fault, common).replace("\n\n|", f"{where}\n\n|", 1) + (
            where if set(fault.__struct_fields__) <= common else ""
        )


def checks() -> Iterator[str]:
    yield "# Checks"
    yield "Each check is one law. It answers HELD, VIOLATED or UNKNOWN, and points at the records that prove it."
    yield table(("check", "law"), [(code(name), law_of(name)) for name in CHECKERS])


def exit_codes() -> Iterator[str]:
    yield "# Exit status"
    yield "## lockjaw run, replay, explore"
    rows = [(verdict.exit_status, f"the verdict is {verdict}") for verdict in Verdict]
    rows += [
        (cli.EXIT_USAGE, "the command line, a scenario or a setting is wrong; nothing was run"),
        (cli.EXIT_HARNESS_FAILED, "the harness failed, a replay diverged, or the engines disagree"),
        (130, "interrupted (Ctrl-C); finished runs keep their folders"),
        (143, "ended by SIGTERM; the same"),
    ]
    yield table(("status", "meaning"), sorted(rows))
    yield (
        "Of several runs the worst decides: VIOLATED if one is, else UNKNOWN if one is, else HELD. With `--baseline` "
        "only verdicts that are worse than the baseline's, or new, are counted; a violation that the baseline knows "
        "leaves the status at 0."
    )
    yield (
        "Of every command: an unexpected exception is 4, with one line and a traceback in a file that the "
        "line names; 141 means that the reader of stdout (`head`, say) went away."
    )
    yield "## lockjaw report"
    yield table(
        ("status", "meaning"),
        [
            (0, "the run was shown, or the file was written, whatever the verdict is"),
            (cli.EXIT_USAGE, "no finished run there, or the file cannot be written"),
            ("1, 3", "with `--exit-code`: the verdict of the run (of all runs with `--compare`)"),
        ],
    )
    yield "## lockjaw scenario check"
    yield table(
        ("status", "meaning"), [(0, "nothing is wrong"), (cli.EXIT_USAGE, "something is: each mistake is a line")]
    )
    yield "## lockjaw kit"
    yield table(
        ("status", "meaning"),
        [
            (EXIT_MADE, "the kit was written"),
            (cli.EXIT_USAGE, "no finished run there, or the file exists and `--force` was not given"),
            (cli.EXIT_HARNESS_FAILED, "the run does not repeat here, or something private would have been in the kit"),
        ],
    )
    yield "## lockjaw locks list, lockjaw locks clean"
    yield table(
        ("status", "meaning"),
        [
            (0, "`list`: done; `clean`: what is left has a live owner"),
            (EXIT_REFUSED, "`clean`: something was refused, because nothing is proven or it cannot be done"),
            (cli.EXIT_USAGE, "no such folder, or it may not be read"),
        ],
    )
    yield "## lockjaw sessions export"
    yield table(
        ("status", "meaning"),
        [
            (0, "the export is there, whole"),
            (EXIT_HELD, "another process keeps a database to itself; nothing was written"),
            (cli.EXIT_USAGE, "no such session, the new name exists already, or a file is malformed or does not fit"),
        ],
    )
    yield "## lockjaw agent"
    yield table(
        ("status", "meaning"),
        [
            (agent.EXIT_ANSWERED, "the user has an answer"),
            (agent.EXIT_FAILED, "no answer"),
            (agent.EXIT_USAGE, "the command line or a setting is wrong"),
            (agent.EXIT_DUPLICATE_POSSIBLE, "an answer, but the turn may run twice (`duplicatePossible` in the JSON)"),
            (130, "interrupted (Ctrl-C)"),
            (143, "ended by SIGTERM"),
        ],
    )


VARIABLES = {
    "OPENCLAW_HOME": "home folder in place of `HOME`",
    "HOME": "the home folder",
    "OPENCLAW_STATE_DIR": "state folder in place of `~/.openclaw`",
    "OPENCLAW_CONFIG_PATH": "configuration file in place of `STATE/openclaw.json`",
    "OPENCLAW_GATEWAY_URL": "gateway address",
    "OPENCLAW_GATEWAY_PORT": "port of the local gateway",
    "OPENCLAW_GATEWAY_TOKEN": "shared token",
    "OPENCLAW_GATEWAY_PASSWORD": "shared password",
    "OPENCLAW_ALLOW_INSECURE_PRIVATE_WS": "`1`: allow `ws://` to a private address",
    "LOCKJAW_PACING": "JSON of step durations; set by the harness",
    "LOCKJAW_CLOCK": "origin and scale of the clock; set by the harness",
    "LOCKJAW_EVENTS": "file for history records; set by the harness",
    "LOCKJAW_ACTOR": "name in those records; set by the harness",
    "LOCKJAW_COMMAND": "what `lockjaw` is called in lines to copy; set by `dev.py`",
    "LOCKJAW_SEED": "root of the ids of a harness run; set by the harness",
    "LOCKJAW_LIFELINE_FD": "the parent's end of a pipe; set by the harness",
}


def settings_keys() -> Iterator[str]:
    yield "# Settings"
    yield (
        "Lockjaw's runtime reads OpenClaw's own `openclaw.json` (JSON5), then the environment, then flags; the later "
        "one wins. Keys that do not concern it are left alone."
    )
    yield "## Keys of openclaw.json"
    yield table(("key", "value", "meaning"), sorted(_config_keys(settings.Config)))
    source = (
        inspect.getsource(visible) + inspect.getsource(settings) + inspect.getsource(process) + inspect.getsource(agent)
    )
    named = set(re.findall(r'"((?:OPENCLAW|LOCKJAW)_[A-Z_]+|HOME)"', source)) | {"LOCKJAW_CLOCK"}
    missing = named ^ VARIABLES.keys()
    assert not missing, f"docs/generate.py: VARIABLES is not current: {sorted(missing)}"
    yield "## Environment"
    yield table(("variable", "meaning"), [(code(name), VARIABLES[name]) for name in sorted(named)])


def _config_keys(cls: type[msgspec.Struct], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key that is read, what may stand there, and the comment beside its field."""
    parts = msgspec.json.schema(cls)["$defs"]
    told = comments(cls)
    for one in msgspec.structs.fields(cls):
        key = f"{above}{one.encode_name}"
        inner = [part for part in _parts(one.type) if isinstance(part, type) and issubclass(part, msgspec.Struct)]
        if told.get(one.name):
            yield code(key), kind(parts[cls.__name__]["properties"][one.encode_name], parts), told[one.name]
        else:
            assert inner, f"src/lockjaw/settings.py: {cls.__name__}.{one.name} has no comment"
        below = f"{key}.NAME." if "dict" in str(one.type) else f"{key}."
        for part in inner:
            yield from _config_keys(part, below)


def _parts(type_: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    yield type_
    for part in get_args(type_):
        yield from _parts(part)


def model_scripts() -> Iterator[str]:
    yield "# Model scripts"
    yield prose(model_script.__doc__)
    yield (
        "A script file has the keys of ModelScript; under `models` stands model id -> list of steps. The same mapping "
        "of models stands under `models` in a scenario and in the `fake_model` fixture."
    )
    one = model_script
    yield from structs(
        one.ModelScript, one.Step, one.ToolCall, one.Usage, one.ErrorReply, one.Disconnect, one.Malformed,
        one.Condition, one.Quota, one.Capacity, one.Expect, one.Recorded,
    )  # fmt: skip


def gateway_script_page() -> Iterator[str]:
    yield "# Gateway scripts"
    yield prose(gateway_script.__doc__)
    yield (
        "A script file has the key `gateway`, with the keys of GatewayScript below it. Beside it may stand what people "
        "should know of it: `about`, `group`, and what a client's call comes to (`error` or `reply`)."
    )
    yield "## Ready-made scripts"
    yield (
        "`lockjaw serve gateway NAME` serves one, `--show` prints it. The last column is what one `agent` call with a "
        "limit of 90 s comes to for a client that does as the real one does; a test holds Lockjaw's own to it."
    )
    for group, scripts in gateway_scripts.listed():
        yield f"### {group[0].upper()}{group[1:]}"
        rows = []
        for name, file in scripts.items():
            comes_to = (
                f"reply {code(file.reply)}" if file.reply else code(file.error) if file.error else "an empty reply"
            )
            rows.append((code(name), file.about, comes_to))
        yield table(("script", "what the gateway does", "what the client sees"), rows)
    one = gateway_script
    yield from structs(
        one.GatewayScript, one.ConnectStep, one.Challenge, one.HttpRefusal, one.Rejection, one.MethodStep, one.Accept,
        one.Final, one.Reply, one.Failure, one.Disturbances, one.Event, one.SeqGap, one.Malformed, one.Mute, one.Close,
        one.Drop, one.Restart, one.Expect, one.ClientClose,
    )  # fmt: skip


def toxic_values() -> Iterator[str]:
    yield "# Toxics"
    yield prose(toxics.__doc__)
    yield (
        "On the command line: `lockjaw serve link --upstream HOST:PORT --toxic 'latency latency_s=0.2'`. Over HTTP: "
        "[Break a link](../how-to/break-a-link.md)."
    )
    yield "## Keys of every toxic"
    yield keys(toxics.Toxic)
    common = set(toxics.Toxic.__struct_fields__)
    for name, cls in toxics.TOXICS.items():
        yield f"## {name}"
        yield keys(cls, without=common)


def history() -> Iterator[str]:
    yield "# History"
    yield (
        "`history.jsonl` of a run has one JSON object a line: `t` (nominal seconds since the run began), `actor`, "
        "`op`, `phase`, `data`, `i` (its index). Phases: `invoke` an operation begins; `ok` it happened; `fail` it "
        "definitely did not; `info` a fact, or an operation whose outcome is unknown."
    )
    yield table(("op", "meaning and keys of `data`"), [(code(op), text) for op, text in OPERATIONS.items()])


def lock_algorithms() -> Iterator[str]:
    yield "# Locks and policies"
    yield "## Lock algorithms"
    yield "`SessionLock(session_file, algorithm=NAME)`."
    rows = [
        (
            code(name), one.about, f"{one.timeout_s:g} s", "process" if one.can_reenter else "object",
            code(one.watchdog) if one.watchdog else "none",
        )
        for name, one in LOCK_ALGORITHMS.items()
    ]  # fmt: skip
    yield table(("algorithm", "whose it is, and what it does", "waits by default", "re-entrant per", "watchdog"), rows)
    yield (
        "Re-entrant only where `reentrant=True` asks for it. Watchdog: `thread` stops a holder whose hold limit is "
        "over, in a thread of its own; `sweep` gives the lock away in the holder's event loop, every minute, and the "
        "holder goes on. Arguments and units: [The lock in Python](lock-api.md)."
    )
    yield "## Policies"
    yield "What gateway, client and fallback do under `--policy NAME`."
    rows = [
        (
            code(name), one.version, code(one.lock_algorithm), f"{one.lock_timeout_s:g} s",
            "yes" if one.lock_error_is_failover else "no", "yes" if one.abort_reaches_agent_runs else "no",
        )
        for name, one in BEHAVIOURS.items()
    ]  # fmt: skip
    header = ("policy", "as in", "lock", "lock wait", "lock error counts as model failure", "runs can be aborted")
    yield table(header, rows)


def lock_states() -> Iterator[str]:
    yield "# States of a contender"
    yield (
        "What `guarded` does, as a table. Real runs are followed through it in a test, which fails on a step that is "
        "not here and on one that is never made. The theory stands in `src/lockjaw/locking/algorithms/guarded.py`."
    )
    yield f"```mermaid\n{diagram()}\n```"
    yield table(("in state", "event", "goes to", "because"), [tuple(one) for one in TRANSITIONS])


PAGES: dict[str, Callable[[], Iterable[str]]] = {
    "scenarios": scenario_list,
    "schedules": searched,
    "checks": checks,
    "exit-status": exit_codes,
    "command-line": command_line,
    "pytest-plugin": plugin,
    "scenario-file": scenario_file,
    "model-script": model_scripts,
    "gateway-script": gateway_script_page,
    "toxics": toxic_values,
    "settings": settings_keys,
    "history": history,
    "locks-and-policies": lock_algorithms,
    "lock-states": lock_states,
    "lock-api": lock_api,
}

CATALOGUE = (FOLDER.parent.parent / "scenarios" / "README.md", lambda: catalogue.page(catalogued()))


SCHEMA = FOLDER.parent.parent / "scenarios" / SCHEMA_FILE


def schema_text() -> str:
    documents = [read_document(path).data for path in sorted(SCHEMA.parent.glob("*.yaml"))]
    return json.dumps(schema(documents), indent=1, ensure_ascii=False) + "\n"


def catalogued() -> list[scenario.Scenario]:
    return [load_scenario(name) for name in scenarios.names()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
