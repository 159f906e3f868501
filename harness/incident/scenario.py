"""A scenario: one named incident as data.

One YAML file each. It says what the user asked, how slow the models are, what goes wrong when, what must have
happened for the run to count, and which laws are checked. Every duration is in nominal seconds. What the
models do (``models``) is the fake model server's language, checked with the rest and handed to it as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lockjaw.behaviours import BEHAVIOURS, POLICIES
from lockjaw.documents import Document, FieldError, KeyPath, convert, mistakes
from lockjaw.documents.yaml import load_document, read_document
from lockjaw.errors import DocumentError, UsageError
from lockjaw.settings import ModelRef, Pacing

from ...fakes.models.script import Models
from ..faults import AnyFault
from ..faults.toxic import AddToxic
from ..judge.checkers import CHECKERS
from ..judge.checkers.facts import ScenarioFacts
from .actors import MAX_ACTORS, Actor, Caller, HoldDatabase, Initial, Role, Scripted, Server, Step, each
from .links import Link, toxic_of
from .matching import Pattern, Sometimes
from .outside import Outside
from .timing import Seconds

BUILTIN_PACKAGE = "lockjaw.scenarios"  # named as data: the package itself stands above this one

_LAWS = f"names among: {', '.join(CHECKERS)}"

Text = Annotated[str, Meta(min_length=1)]
#: One line, and one part of a path: a folder is called by it, and reports print it.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029/\\]{1,200}$",
        description="1 to 200 characters on one line, none of them a slash or a control character",
    ),
]
Positive = Annotated[float, Meta(gt=0)]
Scale = Annotated[float, Meta(gt=0, le=1)]


class Effects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run leaves countable traces."""

    ledger: Text  # a file in the workspace, one effect a line
    #: line -> how often it may stand there; a line that is not named may stand there once
    allowed: dict[str, Annotated[int, Meta(ge=0)]] = {}

    def __post_init__(self) -> None:
        path = PurePosixPath(self.ledger)
        if path.is_absolute() or ".." in path.parts:
            raise FieldError("ledger", "a path inside the workspace", self.ledger)


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits that some checks need."""

    recovered_within_s: Positive | None = None  # from the holder's end to the next grant
    amplification: Positive | None = None  # nominal seconds lost plus provider calls wasted, per second of fault
    bystander_s: Positive | None = None  # how long a held database may delay a client of another session
    fault_s: Seconds = 0.0  # how many seconds of injected fault there are, for `amplification`
    #: requests to models for the user's question at most, for `amplification`; one more ends a run with `outside`
    calls: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if self.amplification is not None and not self.fault_s:
            raise FieldError("fault_s", "the seconds of injected fault, beside amplification")


class Era(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it happened, and the baseline policy, which does as those versions did."""

    versions: Text  # those that the reports name
    policy: Text = "reuse-session"  # the baseline, which does as they did

    def __post_init__(self) -> None:
        if self.policy not in BEHAVIOURS:
            raise FieldError("policy", f"policies among: {', '.join(BEHAVIOURS)}", self.policy)


#: What a run without ``sometimes`` says of itself.
NO_DANGER = "it names no danger (`sometimes`): HELD says no more than that its laws were not broken"
MAIN_ACTORS = ("gateway", "client", "models")
ENGINES = ("sim", "real")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a scenario file holds. ``name`` is the file's stem unless the file says otherwise."""

    name: Name  # what it is called; default: the name of the file
    story: Text  # what happens, in a few sentences for people
    message: Text  # what the user asks
    chain: Annotated[tuple[str, ...], Meta(min_length=1)]  # the models as PROVIDER/MODEL, in the order of their turns
    models: Annotated[dict[str, Any], Meta(min_length=1)]  # model -> what it does at each call (see Model scripts)
    checks: Annotated[tuple[str, ...], Meta(min_length=1)]  # the laws that a run is held to (see Checks)
    reports: tuple[str, ...] = ()  # the issues that tell of it, as OWNER/REPOSITORY#NUMBER
    #: classes of incidents, A to S (see `lockjaw list`)
    classes: tuple[str, ...] = msgspec.field(default=(), name="class")
    era: Era | None = None  # when it happened: versions, and the policy that does as they did
    #: row of the table "Replay first" of the field reports; 0: none
    row: Annotated[int, Meta(ge=0)] = 0
    #: the worlds that can play it: virtual time, operating-system processes
    engines: Annotated[tuple[Literal["sim", "real"], ...], Meta(min_length=1)] = ("sim", "real")
    engines_why: str = ""  # what keeps it from the other engine
    few_schedules: str = ""  # why its actors can meet in a few ways only, where a search shows fewer than 20
    actors: dict[str, Actor] = {}  # who else wants the session; names of their own
    links: dict[str, Link] = {}  # where bytes can be held back, lost or cut on their way; names of their own
    sessions: Literal["jsonl", "sqlite"] = "jsonl"  # what sessions are kept in: a file each, or a database each
    initial: Initial = Initial()  # the session as the client finds it
    outside: Outside | None = None  # how programs that are not ours play it; None: they do not, but for OpenClaw
    asks_when: Pattern | None = None  # the client begins when this has happened; until then only the cast is at work
    client_token: str | None = None  # a token of the client's own, in place of the gateway's: a wrong one
    timeout_s: Seconds = 60.0  # agents.defaults.timeoutSeconds; the client gives up 30 s later
    budget_s: Positive = 400.0  # what a patient user would have waited; the law `answered` reads it
    #: PROVIDER/MODEL -> seconds after the client's start at which it could have answered, had it been asked at
    #: once and left alone; null: never. `answered` holds a run to the best of them.
    answers_s: dict[str, Seconds | None] = {}
    settle_s: Seconds = 5.0  # how long the gateway may go on after the client has ended
    limit_s: Positive | None = None  # after which a run that does not end is the harness's failure
    time_scale: Scale = 0.04  # real seconds per nominal second on real processes
    pacing: Pacing = Pacing()  # how long the runtime's own steps take
    faults: tuple[AnyFault, ...] = ()  # what goes wrong, and when
    sometimes: tuple[Sometimes, ...] = ()  # what must have happened at least once, or the run is UNKNOWN
    effects: Effects | None = None  # where the turn leaves traces that can be counted
    bounds: Bounds = Bounds()  # limits that some checks need
    #: policy -> the laws that it breaks; none: HELD. Documentation that a test keeps true.
    expect: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        FieldError.raise_any(self._wrong())

    def _wrong(self) -> Iterator[FieldError]:
        """The first mistake of each kind that no single key shows."""
        # Before the copies are made one by one: 100 million of them are one line of a file, and more than any memory.
        if (people := sum(actor.copies for actor in self.actors.values())) > MAX_ACTORS:
            yield FieldError("actors", f"at most {MAX_ACTORS} actors, copies counted", people)
            return
        for check in (
            self._check_chain, self._check_laws, self._check_outside, self._check_cast, self._check_links,
            self._check_faults, self._check_dangers,
        ):  # fmt: skip
            try:
                check()
            except FieldError as error:
                yield error

    def _check_chain(self) -> None:
        served = set()
        for text in self.chain:
            try:
                served.add(ModelRef.parse(text).model)
            except UsageError as error:
                raise FieldError("chain", error.expected, text) from None
        for model in served - self.models.keys():
            raise FieldError("models", f"a script for {model}, which the chain names", ", ".join(self.models))
        for model in self.models.keys() - served:
            raise FieldError("models", f"only models that the chain names: {', '.join(sorted(served))}", model)
        for text in self.answers_s:
            if text not in self.chain:
                raise FieldError("answers_s", f"models of the chain: {', '.join(self.chain)}", text)

    def _check_laws(self) -> None:
        for n, name in enumerate(self.checks):
            if name not in CHECKERS:
                raise FieldError(("checks", n), _LAWS, name)
        for policy, broken in self.expect.items():
            if policy not in BEHAVIOURS:
                raise FieldError(("expect", policy), f"policies among: {', '.join(BEHAVIOURS)}", policy)
            for name in broken:
                if name not in self.checks:
                    raise FieldError(
                        ("expect", policy), f"laws that the scenario checks: {', '.join(self.checks)}", name
                    )

    def _check_outside(self) -> None:
        if self.outside is not None:
            self.outside.marker_of(self.message)
            for name, caller in self.cast.items():
                if isinstance(caller, Caller):
                    self.outside.marker_of(caller.message, name)

    def _check_cast(self) -> None:
        for name, actor in self.actors.items():
            if not name.replace("-", "_").isidentifier() or name in (*MAIN_ACTORS, "harness"):
                raise FieldError("actors", "a name of its own, of letters, digits, _ and -", name)
            if actor.pid_of is not None and actor.pid_of not in (*MAIN_ACTORS, *self.cast):
                raise FieldError(("actors", name, "pid_of"), f"an actor: {', '.join(self.names)}", actor.pid_of)
            if isinstance(actor, Caller) and actor.asks not in (known := ("gateway", *self.servers)):
                raise FieldError(("actors", name, "asks"), f"a gateway: {', '.join(known)}", actor.asks)
            if isinstance(actor, Scripted) and self.sessions != "sqlite" and any(map(_is_of_database, actor.script)):
                raise FieldError("sessions", "sqlite, beside an actor that holds a database", self.sessions)
        owner = self.initial.lock.owner if self.initial.lock else "dead"
        if owner not in ("dead", "nobody", "garbage", *self.names):
            raise FieldError("initial.lock.owner", f"dead, nobody, garbage or an actor: {', '.join(self.names)}", owner)

    def _check_links(self) -> None:
        places: dict[tuple[str, str], str] = {}
        for name, link in self.links.items():
            if not name.replace("-", "_").isidentifier() or name in (*self.names, "harness"):
                raise FieldError("links", "a name of its own, of letters, digits, _ and -", name)
            dialler, dialled = link.between
            asking = ("client", *(n for n, actor in self.cast.items() if isinstance(actor, Caller)))
            if dialler not in (*asking, *(("gateway",) if dialled == "models" else ())):
                expected = f"who dials: {', '.join(asking)}" + (" or gateway" if dialled == "models" else "")
                raise FieldError(("links", name, "between"), expected, dialler)
            if places.setdefault(link.between, name) != name:
                raise FieldError(("links", name, "between"), f"a place where no other link is ({places[link.between]})")
            acts = [fault.toxic for fault in self.faults if fault.target == name and isinstance(fault, AddToxic)]
            for toxic in (toxic_of(data) for data in (*link.toxics, *acts)):
                if link.to_gateway and toxic.trigger and (toxic.trigger_stream or toxic.stream) == "upstream":
                    raise FieldError(
                        ("links", name), "a trigger on what comes downstream: what a WebSocket client sends is masked"
                    )

    def link_of(self, dialler: str, dialled: str) -> str | None:
        """The name of the link between two actors, if there is one."""
        return next((name for name, link in self.links.items() if link.between == (dialler, dialled)), None)

    def _check_faults(self) -> None:
        for n, fault in enumerate(self.faults):
            if fault.of_link:
                if fault.target not in self.links:
                    known = ", ".join(self.links) or "none; name one under `links`"
                    raise FieldError(("faults", n, "target"), f"a link: {known}", fault.target)
            elif fault.target not in self.names:
                raise FieldError(("faults", n, "target"), f"an actor: {', '.join(self.names)}", fault.target)
            try:
                fault.check_among(self.faults)
            except FieldError as error:
                raise FieldError(("faults", n, *error.key), error.expected, error.got) from None
        simulated = [str(fault) for fault in self.faults if "real" not in fault.worlds]
        simulated += [f"actors.{n}" for n, a in self.cast.items() if a.namespace != 1 or a.pid_of is not None]
        if simulated and "real" in self.engines:
            raise FieldError("engines", f"[sim], because only the simulation has {simulated[0]}", list(self.engines))
        if len(self.engines) < len(ENGINES) and not self.engines_why:
            raise FieldError("engines_why", "a sentence that says what keeps it from the other engine")

    def _check_dangers(self) -> None:
        """A condition that can never be met makes every run UNKNOWN, and a cue that can never come is waited for."""
        acting = (*self.names, *self.links, "harness", "nemesis")
        patterns: list[tuple[KeyPath, str | None]] = [
            (("sometimes", n, "seen", "actor"), some.seen.actor) for n, some in enumerate(self.sometimes)
        ]
        patterns += [
            (("sometimes", n, "while_locked_by"), some.while_locked_by) for n, some in enumerate(self.sometimes)
        ]
        patterns += [(("faults", n, "when", "actor"), f.when.actor) for n, f in enumerate(self.faults) if f.when]
        patterns += [(("asks_when", "actor"), self.asks_when.actor)] if self.asks_when else []
        for place, pattern in patterns:
            if pattern is not None and not any(fnmatchcase(name, pattern) for name in acting):
                raise FieldError(place, f"an actor of this scenario: {', '.join(acting)}", pattern)

    @property
    def cast(self) -> dict[str, Actor]:
        """The other actors, one by one."""
        return each(self.actors)

    @property
    def servers(self) -> tuple[str, ...]:
        """The gateways of the cast, beside the one that everybody has."""
        return tuple(name for name, actor in self.cast.items() if isinstance(actor, Server))

    @property
    def names(self) -> tuple[str, ...]:
        """Every actor that can be named."""
        return (*MAIN_ACTORS, *self.cast)

    def role_of(self, name: str) -> Role:
        """What an actor is: a gateway or client of the cast is one like that which everybody has."""
        match self.cast.get(name, name):
            case Server() | "gateway":
                return "gateway"
            case Caller() | "client":
                return "client"
            case Scripted():
                return "scripted"
            case _:
                return "models"

    @property
    def baseline(self) -> str:
        """The policy that shows the incident."""
        return self.era.policy if self.era else "reuse-session"

    @property
    def policies(self) -> tuple[str, ...]:
        """What ``--policy all`` means here: the published ones, ours, and the baseline."""
        return tuple(dict.fromkeys((*POLICIES[:-1], self.baseline, POLICIES[-1])))

    @property
    def not_real(self) -> str:
        """Why real processes cannot play it; empty: they can."""
        if "real" not in self.engines:
            return self.engines_why
        return ""

    @property
    def only_ours(self) -> str:
        """Why programs that are not Lockjaw's cannot play it; empty: they can."""
        if self.outside is not None and all(map(_of_any_runtime, self.cast.values())):
            pass  # the file says how others play it
        elif self.staged:
            return "the actors and the session that this scenario sets up are Lockjaw's own"
        struck = next((str(fault) for fault in self.faults if fault.inside), "")
        return f"only Lockjaw's own programs can be struck from within ({struck})" if struck else ""

    @property
    def staged(self) -> bool:
        """The session exists before the client asks."""
        return bool(self.actors) or self.initial != Initial()

    @property
    def refs(self) -> tuple[ModelRef, ...]:
        return tuple(ModelRef.parse(text) for text in self.chain)

    @property
    def run_limit_s(self) -> float:
        """Nominal seconds after which a client that still runs is given up."""
        return self.limit_s or 2 * self.budget_s + 120.0

    @property
    def facts(self) -> ScenarioFacts:
        """What the checkers may know of this scenario."""
        return ScenarioFacts(
            message=self.message,
            messages={name: actor.message for name, actor in self.cast.items() if isinstance(actor, Caller)},
            budget_s=self.budget_s,
            chain=self.chain,
            answers_s=self.answers_s,
            recovered_within_s=self.bounds.recovered_within_s,
            amplification=self.bounds.amplification,
            fault_s=self.bounds.fault_s,
            bystander_s=self.bounds.bystander_s,
            calls=self.bounds.calls,
            ledger=self.effects.allowed if self.effects else {},
        )

    def script(self) -> dict[str, Any]:
        """The model server's script."""
        return {"models": self.models}


def _is_of_database(step: Step) -> bool:
    return isinstance(step, HoldDatabase)


def _of_any_runtime(actor: Actor) -> bool:
    """Programs that are not ours have it, too: clients, servers, and a store that somebody else can hold."""
    return not isinstance(actor, Scripted) or all(map(_is_of_database, actor.script))


def builtin_names() -> list[str]:
    """The scenarios that come with Lockjaw."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(BUILTIN_PACKAGE).iterdir() if _is_yaml(entry.name)
    )


def read_builtin_text(name: str) -> str:
    """The text of a built-in scenario. Raises DocumentError naming those that exist."""
    entry = files(BUILTIN_PACKAGE) / f"{name}.yaml"
    if not name.isidentifier() or not entry.is_file():
        raise DocumentError(name, 0, "", f"a scenario file or one of: {', '.join(builtin_names())}", name)
    return entry.read_text(encoding="utf-8")


def read_builtin(name: str) -> Document:
    """A built-in scenario, parsed. Raises DocumentError naming those that exist."""
    return load_document(read_builtin_text(name), f"{name}.yaml")


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A scenario by built-in name, or by the path of its file (anything with a slash or ending in .yaml/.yml).

    Raises:
        DocumentError: no such scenario; or file, line, key, what was expected, what was found.
    """
    document, name = _read(name_or_path)
    return scenario_from(document, name=name)


def _read(name_or_path: str | Path) -> tuple[Document, str]:
    """A document, and the name of the scenario unless it says another."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or _is_yaml(text):
        return read_document(text), Path(text).stem
    return read_builtin(text), text


def scenario_from(document: Document, *, name: str) -> Scenario:
    """A scenario from a parsed document; ``name`` counts unless the document has its own.

    Raises:
        DocumentError: the first mistake, with the others in its field.
    """
    if isinstance(document.data, dict):
        document.data.setdefault("name", name)
        _without_nothing(document.data.get("faults"))
    try:
        scenario = convert(document, Scenario)
    except DocumentError as error:
        others = [*error.others, *_mistakes_of_models(document)]
        seen = {one.key for one in (error, *others)}
        raise error.with_others([*others, *(m for m in _mistakes_of_laws(document) if m.key not in seen)]) from None
    if wrong := _mistakes_of_models(document):
        raise wrong[0].with_others(wrong[1:])
    return scenario


def _mistakes_of_laws(document: Document) -> list[DocumentError]:
    """Laws that do not exist. The scenario's own checks say so, too, but only where every key is right."""
    checks = document.data.get("checks") if isinstance(document.data, dict) else None
    return [
        document.error(("checks", n), _LAWS, name)
        for n, name in enumerate(checks if isinstance(checks, list) else ())
        if isinstance(name, str) and name not in CHECKERS
    ]


def _mistakes_of_models(document: Document) -> list[DocumentError]:
    """What is wrong with the scripts of the models, in the fake model server's own language."""
    if not isinstance(document.data, dict) or not isinstance(document.data.get("models"), dict):
        return []
    return mistakes(document, Models, ("models",))


def check_scenario(name_or_path: str) -> tuple[Scenario | None, list[DocumentError]]:
    """The scenario and no mistake, or None and every mistake that was found, in the order of their lines."""
    try:
        document, name = _read(name_or_path)
        scenario = scenario_from(document, name=name)
    except DocumentError as error:
        found = [error.with_others(()), *error.others]
        return None, sorted(found, key=lambda one: (one.line, one.column))
    return scenario, []


def _without_nothing(faults: object) -> None:
    """Runs that were kept before each fault had its own keys say null for those of the others."""
    for fault in faults if isinstance(faults, list) else ():
        if isinstance(fault, dict):
            for key in [key for key, value in fault.items() if value is None]:
                del fault[key]


def is_builtin(scenario: Scenario) -> bool:
    """Does it come with this installation, word for word? Only the package's own list counts, never a file."""
    if scenario.name not in builtin_names():
        return False
    return scenario_from(read_builtin(scenario.name), name=scenario.name) == scenario


def _is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))
