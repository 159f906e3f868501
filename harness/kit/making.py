"""Makes a kit from a run folder: redacts, runs again, and refuses to write what would not replay or might leak."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from lockjaw import __version__
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.documents import FieldError
from lockjaw.errors import DocumentError, HarnessError, ReplayDiverged, UsageError
from lockjaw.history import OPERATIONS, Record, event_hash
from lockjaw.history.run import Run, read_document
from lockjaw.seeds import Seeds

from ..incident.scenario import Scenario, is_builtin
from ..judge.checkers import CHECKERS
from ..judge.judgement import judge
from ..judge.skeleton import skeleton_hash
from ..kept import read_kept
from ..sim.engine import SimLived, run_sim
from ..sim.tape import Choice, Choices, RandomChoices, StrictReplay, Until, Value
from ..store import readable
from .archive import LIMITS, write_archive
from .manifest import FORMAT, REPLAY, KitManifest
from .redaction import Redactor
from .rules import HISTORY_TEXTS, SCENARIO_TEXTS

CANDIDATE = "takeover"
LEFT_OUT = ("logs/", "state/", "home/", "the name of the run folder", "when and where it ran, pids of the harness")


@dataclass(frozen=True)
class MadeKit:
    """A kit that was written. ``notes``: what its maker should know; ``redactions`` as in the kit."""

    path: Path
    manifest: KitManifest
    redactions: dict[str, Any]
    notes: tuple[str, ...]


def make_kit(
    run_dir: Path,
    out: Path,
    *,
    render: Callable[[Run], str],
    keep_text: bool = False,
    force: bool = False,
    salt: bytes | None = None,
) -> MadeKit:
    """Make a kit.

    Args:
        run_dir: a finished run.
        out: the zip file; never replaced without ``force``.
        render: draws the page of a run (``lockjaw.reports``, which the harness does not know).
        keep_text: leave messages as they are, apart from the secrets in them.
        salt: of the pseudonyms; None: a fresh one, which nobody keeps. The same salt makes the same bytes.

    Raises:
        UsageError: no finished run there, or the zip exists.
        HarnessError: the run does not repeat here, redaction would change it, or something private would leave.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UsageError(str(out), "", "a file in a folder that exists")
    if out.exists() and not force:
        raise UsageError(str(out), "", "a new file (--force replaces an old one)")
    source = _Source.read(run_dir)
    redactor = Redactor(salt or secrets.token_bytes(32), keep_text=keep_text, public=public_words())
    for kind, word in _this_machine():
        redactor.learn_word(kind, word)
    scenario = _redacted_scenario(source, redactor)
    redactor.settle()
    notes: list[str] = []
    if source.engine == "sim":
        judged, tape, told = _again(source, scenario)
        notes += told
        document, history = judged.document() | {"wall_s": 0.0}, list(judged.history)
        hash_ = judged.event_hash
    else:
        document, history, tape, hash_ = source.document, list(source.history), [], ""
    history = _copied_history(history, source, redactor)
    document = _copied_document(document, source, redactor)
    hash_ = hash_ or skeleton_hash(history)
    document |= {
        "scenario": scenario.name,
        "event_hash": hash_,
        "story": " ".join(scenario.story.split()),
    }
    verdicts = _verdicts(scenario, document, source, redactor)
    redactions = _redactions(redactor, source)
    files = {
        "scenario.json": readable(_stated(scenario)),
        "history.jsonl": _lines(history),
        "verdicts.json": readable(verdicts),
        "report.html": render(read_document(document, history, Path("KIT.zip"))).encode(),
        "redactions.json": readable(redactions),
    }
    if source.engine == "sim":
        files["tape.jsonl"] = _lines(tape)
    manifest = KitManifest(
        format=FORMAT, lockjaw=__version__, python=platform.python_version(), system=platform.system(),
        scenario=scenario.name, policy=source.policy, engine=source.engine, target=source.target, seed=source.seed,
        time_scale=source.time_scale, verdict=document["verdict"], event_hash=hash_, kept_text=keep_text,
        replay=REPLAY, client_policy=source.client_policy,
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    )  # fmt: skip
    files["kit.json"] = readable(msgspec.to_builtins(manifest))
    files["README.md"] = _readme(scenario, document, manifest, redactions).encode()
    _prove(files, redactor)
    write_archive(out, {name: files[name] for name in LIMITS if name in files}, force=force)
    return MadeKit(out, manifest, redactions, tuple(notes))


# --------------------------------------------------------------------------- what is packed


@dataclass(frozen=True)
class _Source:
    """A run folder as read."""

    path: Path
    scenario: Scenario
    public: bool  # the scenario comes with Lockjaw, word for word
    policy: str
    engine: Literal["sim", "real"]
    target: str
    client_policy: str | None
    seed: int
    time_scale: float
    made_by: str
    document: dict[str, Any]
    history: Sequence[Record]
    tape: Sequence[Choice]

    @classmethod
    def read(cls, path: Path) -> _Source:
        kept = read_kept(path)
        noted = kept.manifest
        return cls(
            path, kept.scenario, is_builtin(kept.scenario), noted["policy"], noted["engine"], kept.target,
            noted.get("client_policy"), noted["seed"], noted["time_scale"], str(noted.get("lockjaw")),
            kept.run.document(), kept.run.history, kept.tape,
        )  # fmt: skip

    def bare(self, value: Any) -> Any:
        """Plain data without this machine's folders."""
        folders = {str(self.path.absolute()): "/run", str(self.path.resolve()): "/run", os.getcwd(): "/folder"}
        home = os.path.expanduser("~")
        if home not in ("~", "/", "/root"):
            folders.setdefault(home, "/home/nobody")
        return _replaced(value, {folder: name for folder, name in folders.items() if len(folder) > 1})


def _replaced(value: Any, folders: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_replaced(key, folders): _replaced(item, folders) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, folders) for item in value]
    if isinstance(value, str):
        for folder, name in folders.items():
            value = value.replace(folder, name)
    return value


def public_words() -> Iterable[str]:
    """Words that a scenario or a history is made of: a user of that name is replaced in paths only."""
    for op in OPERATIONS:
        yield from re.split(r"[._]", op)
    yield from OPERATIONS
    yield from CHECKERS
    yield from BEHAVIOURS
    yield from Scenario.__struct_fields__
    yield from ("sim", "real", "kill", "pause", "resume", "restart", "terminate", "append", "invoke", "fail", "info")


def _this_machine() -> Iterable[tuple[str, str]]:
    yield "host", platform.node()
    yield "host", platform.node().partition(".")[0]
    yield "user", Path("~").expanduser().name
    with suppress(OSError, KeyError, ImportError):  # a user without an entry in the password file
        yield "user", getpass.getuser()


def _redacted_scenario(source: _Source, redactor: Redactor) -> Scenario:
    plain = msgspec.to_builtins(source.scenario)
    if source.public:
        for text in _spoken(plain):
            redactor.publish(text)
        redactor.publish_words(msgspec.json.encode(plain).decode())
        return source.scenario
    plain = source.bare(plain)
    redactor.learn(plain, spoken=SCENARIO_TEXTS)
    redactor.learn(source.bare([msgspec.to_builtins(record) for record in source.history]))
    redacted = redactor.value(plain, spoken=SCENARIO_TEXTS)
    redacted["name"] = re.sub(r"[^\w.-]", "-", redacted["name"]).lstrip(".-") or "scenario"
    try:
        return msgspec.convert(redacted, Scenario)
    except (msgspec.ValidationError, FieldError, DocumentError) as error:
        raise HarnessError(
            f"after redaction the scenario is no longer valid ({redactor.text(str(error))}). Rename what is "
            "private in its keys and names, and run it again"
        ) from error


def _spoken(value: Any, key: str = "") -> Iterable[str]:
    """The texts of a scenario that comes with Lockjaw."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _spoken(item, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _spoken(item, key)
    elif isinstance(value, str) and key in SCENARIO_TEXTS and any(char.isalnum() for char in value):
        yield value


def _stated(scenario: Scenario) -> dict[str, Any]:
    """The scenario without what it leaves at its default: an older Lockjaw need not know what it does not use."""
    plain: dict[str, Any] = msgspec.to_builtins(scenario)
    for field in msgspec.structs.fields(Scenario):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if getattr(scenario, field.name) == default:
            del plain[field.encode_name]
    return plain


def _copied_history(history: Sequence[Record], source: _Source, redactor: Redactor) -> list[Record]:
    plain = source.bare([msgspec.to_builtins(record) for record in history])
    # What a simulation says comes from its scenario, which is redacted already.
    spoken = HISTORY_TEXTS if source.engine != "sim" else frozenset[str]()
    redactor.learn([record.get("data", {}) for record in plain], spoken=spoken)
    for record in plain:
        if "data" in record:
            record["data"] = redactor.value(record["data"], spoken=spoken)
    return msgspec.convert(plain, list[Record])


def _copied_document(document: dict[str, Any], source: _Source, redactor: Redactor) -> dict[str, Any]:
    plain = source.bare({key: item for key, item in document.items() if key not in ("run_dir", "replay", "event_hash")})
    spoken = HISTORY_TEXTS if source.engine != "sim" else frozenset[str]()
    copied: dict[str, Any] = redactor.value(plain, spoken=spoken)
    return copied


# --------------------------------------------------------------------------- the run once more


class _Taken(StrictReplay):
    """The values of a tape, for a scenario whose names have changed: labels may differ, bounds may not."""

    def __init__(self, tape: Sequence[Choice]) -> None:
        super().__init__(tape)
        self._values = tape
        self._actors: dict[str, str] = {}  # what they were called -> what they are called

    def _answer(self, label: str, bound: int) -> Value:
        step = len(self.tape)
        if step < len(self._values) and self._values[step].bound == bound:
            before, _, value = self._values[step]
            self._actors.setdefault(before.partition(": ")[0], label.partition(": ")[0])
            if isinstance(value, Until):
                actor, colon, what = value.label.partition(": ")
                value = value._replace(label=f"{self._actors.get(actor, actor)}{colon}{what}")
            choice = Choice(label, bound, value)
            self.tape.append(choice)
            return choice.value
        return super()._answer(label, bound)


def _again(source: _Source, scenario: Scenario) -> tuple[Run, list[Choice], list[str]]:
    """The redacted run, its tape, and notes."""
    try:
        lived = _simulate(source, scenario, _Taken(source.tape))
        judged = _judged(source, scenario, lived)
        repeated = _simulate(source, scenario, StrictReplay(lived.tape))
    except ReplayDiverged as error:
        raise HarnessError(_why_not(source, scenario, str(error)), str(source.path)) from error
    if event_hash(repeated.history) != judged.event_hash:
        raise HarnessError("the same choices gave two histories: a bug of the simulation", str(source.path))
    laws = {check["name"]: check["verdict"] for check in source.document["checks"]}
    now = {check.name: str(check.verdict) for check in judged.checks}
    if source.document["verdict"] != str(judged.verdict) or laws != now:
        changed = ", ".join(name for name in now if laws.get(name) != now[name]) or "a condition"
        raise HarnessError(_why_not(source, scenario, f"another verdict: {changed}"), str(source.path))
    at = first_difference(source.history, judged.history)
    notes = []
    if at is not None:
        notes.append(
            f"history.jsonl of the run is not what its tape gives (from record {at} on); the kit has the latter"
        )
    return judged, lived.tape, notes


def first_difference(one: Sequence[Record], other: Sequence[Record]) -> int | None:
    """Index of the first record with another time, actor, operation or phase; None if there is none."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if (a.t, a.actor, a.op, a.phase) != (b.t, b.actor, b.op, b.phase):
            return at
    return None if len(one) == len(other) else min(len(one), len(other))


def _simulate(source: _Source, scenario: Scenario, choices: Choices, policy: str = "") -> SimLived:
    return run_sim(scenario, policy=policy or source.policy, seed=source.seed, choices=choices)


def _judged(source: _Source, scenario: Scenario, lived: SimLived, policy: str = "") -> Run:
    return judge(
        scenario, lived.history, never_due=[str(fault) for fault in lived.never_due], policy=policy or source.policy,
        engine="sim", seed=source.seed, nominal_s=lived.nominal_s, wall_s=0.0, run_dir=Path("KIT"),
        exact_hash=event_hash(lived.history),
    )  # fmt: skip


def _why_not(source: _Source, scenario: Scenario, what: str) -> str:
    if scenario != source.scenario:
        try:
            _simulate(source, source.scenario, StrictReplay(source.tape))
        except ReplayDiverged:
            pass
        else:
            return (
                f"without its private texts the run goes another way ({what}): something depends on them. "
                "Try --keep-text, or make those texts harmless and run the scenario again"
            )
    made_by = source.made_by
    why = (
        f"it was made by lockjaw {made_by}, this is {__version__}" if made_by != __version__ else "its tape was changed"
    )
    return f"the run does not repeat here ({what}): {why}. Run the scenario again, and make the kit of that run"


# --------------------------------------------------------------------------- the other files


def _verdicts(scenario: Scenario, document: dict[str, Any], source: _Source, redactor: Redactor) -> dict[str, Any]:
    """The run's own verdict, and those of the baseline and of ours under the same seed, both in the simulation."""
    return {
        "run": document,
        "baseline": _verdict_under(scenario.baseline, scenario, document, source, redactor),
        "candidate": _verdict_under(CANDIDATE, scenario, document, source, redactor),
    }


def _verdict_under(
    policy: str, scenario: Scenario, document: dict[str, Any], source: _Source, redactor: Redactor
) -> dict[str, Any]:
    wanted = ("policy", "engine", "verdict", "event_hash", "outcome", "checks", "sometimes")
    if policy == source.policy and source.engine == "sim":
        return {key: document[key] for key in wanted}
    if "sim" not in scenario.engines:
        return {"policy": policy, "verdict": None, "why": "the scenario has no simulation"}
    try:
        lived = _simulate(source, scenario, RandomChoices(Seeds(source.seed)), policy)
    except HarnessError as error:  # such as a tool that the simulation does not know
        return {"policy": policy, "verdict": None, "why": redactor.text(str(error))}
    told = _judged(source, scenario, lived, policy).document()
    copied = _copied_document(told, source, redactor) | {"event_hash": told["event_hash"]}
    return {key: copied[key] for key in wanted}


def _redactions(redactor: Redactor, source: _Source) -> dict[str, Any]:
    return {
        "replaced": redactor.report(),
        "message_texts": "kept" if redactor.keep_text else "public" if source.public else "replaced",
        "scenario": "comes with Lockjaw, unchanged" if source.public else "redacted before it was run again",
        "left_out": list(LEFT_OUT),
        "how": "Equal things have equal pseudonyms in this kit and others in any other kit. The salt was not kept.",
    }


def _readme(scenario: Scenario, document: dict[str, Any], manifest: KitManifest, redactions: dict[str, Any]) -> str:
    story = "\n".join(f"> {line}" for line in scenario.story.strip().splitlines())
    broken = [c for c in document["checks"] if c["verdict"] != "HELD"]
    laws = "\n".join(f"- {c['verdict']} `{c['name']}`: {c['finding']}" for c in broken) or "- every law held"
    replaced = ", ".join(f"{n['different']} x {kind}" for kind, n in redactions["replaced"].items()) or "nothing"
    exact = (
        f"It gives the same verdict and the event hash `{manifest.event_hash}`, or says where it parted."
        if manifest.engine == "sim"
        else "It ran as real processes, so a replay repeats the verdict and the steps, not the microseconds."
    )
    return f"""# {manifest.verdict}: {manifest.scenario}, policy {manifest.policy}

{story}

To run it again (Lockjaw {manifest.lockjaw}; Python {manifest.python} on {manifest.system} made this):

    {manifest.replay}

{exact}

{laws}

`report.html` shows who held the lock when; open it in any browser. `verdicts.json` has this run, the baseline and the
candidate; `history.jsonl` every step; `redactions.json` what was replaced by pseudonyms: {replaced}.
"""


def _prove(files: dict[str, bytes], redactor: Redactor) -> None:
    """The last look before anything leaves."""
    for name, data in files.items():
        if leaked := redactor.leaks(data.decode()):
            raise HarnessError(
                f"{name} would still show something private ({', '.join(leaked)}), so no kit was written. That is a "
                "bug of the redaction: please report which shape it has, not what it is"
            )


def _lines(values: Iterable[Any]) -> bytes:
    encode = msgspec.json.Encoder().encode
    return b"".join(encode(value) + b"\n" for value in values)
