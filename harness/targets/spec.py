"""A runtime as data: one TOML file says how to install, configure, start, ask and read it.

Values only. What a file cannot say (a turn that is no command line, messages in a form of their own) is a small class
beside it; see ``program``. ``{placeholders}`` in commands, paths and texts are filled per run:

``{home}`` ``{work}`` ``{run}``  folders of the run: the user's home, the workspace, the run itself
``{port}``  the port that the gateway is to listen on      ``{model_url}``  base URL of the fake model server, with /v1
``{session}``  id of the conversation                      ``{message}``  what the user asks
``{version}``  the version that was asked for              ``{install}``  folder of the installation
``{here}``  the folder that this file is in
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from lockjaw.documents import Document, FieldError, convert, dotted
from lockjaw.errors import DocumentError, unreadable

__all__ = ["PLACEHOLDERS", "TargetSpec", "filled", "filled_in", "load_target_spec"]

Text = Annotated[str, Meta(min_length=1)]
Command = tuple[Text, ...]
T = TypeVar("T", str, tuple[str, ...])

PLACEHOLDERS = ("home", "work", "run", "port", "model_url", "session", "message", "version", "install", "here")
_PLACE = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders filled; other braces (JSON, TOML, shell) stay as they are. No value is filled again,
    so a message that holds ``{port}`` stays that message."""
    return _PLACE.sub(lambda found: values[found[1]], text)


def filled_in(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """A command with its placeholders filled."""
    return [filled(word, values) for word in command]


def check_pattern(key: str | tuple[str | int, ...], pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise FieldError(key, f"a regular expression ({error})", pattern) from None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Install(_Table, frozen=True):
    """Where the program comes from. Packages by exact version, from npm (their scripts are not run) or PyPI."""

    npm: tuple[Text, ...] = ()
    pip: tuple[Text, ...] = ()
    source: tuple[Text, ...] = ()  # packages among pip's that have no wheel: building one runs code of theirs
    python: Text | None = None  # minor version that the packages need, such as "3.12"; None: the one that runs Lockjaw
    bin: tuple[Text, ...] = ()  # folders of its programs below the installation; none: npm's .bin, or bin of pip's
    size_mb: Annotated[int, Meta(ge=0)] = 0  # shown before the user is asked
    needs: tuple[Text, ...] = ()  # programs that must be on PATH, such as git

    def __post_init__(self) -> None:
        if self.npm and self.pip:
            raise FieldError("pip", "npm or pip, not both")
        for key in ("npm", "pip"):
            exact = re.compile(r".+@[^@]+" if key == "npm" else r"[^=<>~!]+==[^=*]+")
            for name in getattr(self, key):
                if not exact.fullmatch(name):
                    raise FieldError(key, "exact versions (npm: name@1.2.3, pip: name==1.2.3)", name)


class File(_Table, frozen=True):
    """A file that is written before the run."""

    path: Text
    text: str


class Ready(_Table, frozen=True):
    """When the gateway can be asked: an address that answers 200, or a line that it prints."""

    http: Text | None = None
    line: Text | None = None

    def __post_init__(self) -> None:
        if (self.http is None) == (self.line is None):
            raise FieldError("http", "either http (an address that answers 200) or line (a regular expression)")
        if self.line is not None:
            check_pattern("line", self.line)


class Gateway(_Table, frozen=True):
    """The long-lived server of a session. ``second``: another one on the same store, on the ``{port}`` that is given to
    it, if that takes another command."""

    command: Annotated[Command, Meta(min_length=1)]
    ready: Ready
    second: Command = ()
    limit_s: Annotated[float, Meta(gt=0)] = 90.0  # to be ready


class Client(_Table, frozen=True):
    """What the user runs. ``gateway``: a turn through the gateway; ``own``: the fallback, a turn in its own process.

    ``new``: the first turn of a session, before the incident; ``session`` is then a regular expression whose first
    group is the session's id in its output. Without ``new``, ``session`` is the id itself.
    """

    gateway: Annotated[Command, Meta(min_length=1)]
    own: Command = ()
    new: Command = ()
    session: str = ""
    #: seconds that the fallback needs before it can ask; what holds the server up lasts that much longer, and so does
    #: the user's patience with it
    own_starts_s: Annotated[float, Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.new:
            check_pattern("session", self.session)
            if re.compile(self.session).groups < 1:
                raise FieldError("session", "a regular expression with a group for the session's id", self.session)


class Messages(_Table, frozen=True):
    """Where the conversation stands on disk. ``jsonl``: a pattern of paths (newest file wins). ``sqlite``: a database
    that is copied before it is read, and ``sql``: a statement that gives (role, text, calls, answers) per message for
    the session (its one parameter). Neither: the class beside the file has ``messages``."""

    jsonl: Text | None = None
    sqlite: Text | None = None
    sql: Text | None = None
    call_id: Text = r'"id": ?"([^"]+)"'  # finds the ids of tool calls in the statement's third column

    def __post_init__(self) -> None:
        if (self.sqlite is None) != (self.sql is None):
            raise FieldError("sql", "sqlite and sql together")
        if self.jsonl is not None and self.sqlite is not None:
            raise FieldError("jsonl", "jsonl or sqlite, not both")
        check_pattern("call_id", self.call_id)


class Holder(_Table, frozen=True):
    """How an owner of the session shows from outside. ``flock``: a file whose lock ``/proc/locks`` lists. ``pid_file``:
    a JSON file that names the owner under ``pid_key`` (and its fencing token under ``generation_key``)."""

    flock: Text | None = None
    pid_file: Text | None = None
    pid_key: Text = "pid"
    generation_key: Text | None = None

    @property
    def visible(self) -> bool:
        return self.flock is not None or self.pid_file is not None


class StoreFile(_Table, frozen=True):
    """What another process holds of the store in ``store_held``: a database, or a file's ``flock``. Patterns of paths;
    the newest file wins."""

    sqlite: Text | None = None
    flock: Text | None = None

    def __post_init__(self) -> None:
        if self.sqlite is not None and self.flock is not None:
            raise FieldError("flock", "sqlite or flock, not both")

    @property
    def held(self) -> tuple[str, str] | None:
        """(how a contender names the lock, the pattern); None: the file names nothing to hold."""
        if self.sqlite is not None:
            return "sqlite", self.sqlite
        return None if self.flock is None else ("flock", self.flock)


class Tool(_Table, frozen=True):
    """The tool that runs a shell command: the fake model asks for it where a scenario wants an effect."""

    name: Text
    argument: Text  # the key that the command goes under
    more: dict[str, str] = {}  # further arguments that the tool insists on


class TargetSpec(_Table, frozen=True):
    """One runtime. ``cannot``: law -> why it cannot be judged from outside; such a law is UNKNOWN.

    ``locked``: the program's own words for a session that is locked, as regular expressions.
    """

    name: Annotated[
        str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,30}$", description="a small letter, then up to 30 of a-z, 0-9, _ and -")
    ]
    version: Text
    licence: Text
    gateway: Gateway
    client: Client
    install: Install = Install()
    setup: tuple[Command, ...] = ()  # commands in the workspace, before the run
    environment: dict[str, str] = {}  # beside PATH, HOME, TMPDIR and LANG
    file: tuple[File, ...] = ()
    messages: Messages = Messages()
    holder: Holder = Holder()
    store: StoreFile = StoreFile()
    tool: Tool | None = None
    locked: tuple[Text, ...] = ()
    models: tuple[Text, ...] = ()  # model ids of its own requests (titles, summaries), answered at once
    cannot: dict[str, Text] = {}
    tested: tuple[Text, ...] = ()  # versions that were seen to run

    def __post_init__(self) -> None:
        for n, pattern in enumerate(self.locked):
            check_pattern(("locked", n), pattern)


def load_target_spec(path: Path) -> TargetSpec:
    """Read and check a file.

    Raises:
        DocumentError: no such file, no TOML, or a key that does not fit: file, key, what was expected, what was found.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), 0, "", f"a UTF-8 text file; {unreadable(error)}") from error
    except RecursionError as error:
        raise DocumentError(str(path), 0, "", "fewer levels of nesting") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise DocumentError(str(path), int(line[1]) if line else 0, "", f"TOML ({error})") from error
    spec = convert(Document.of(data, str(path)), TargetSpec)
    _check_placeholders(spec, path)
    return spec


def _check_placeholders(spec: TargetSpec, path: Path) -> None:
    """A misspelt ``{sesion}`` would go out as it stands; words in braces that are near a placeholder are refused."""
    for at, text in _commands(spec):
        for word in re.findall(r"\{([a-z_]+)\}", text):
            if word not in PLACEHOLDERS:
                raise DocumentError(str(path), 0, dotted(at), f"placeholders among: {', '.join(PLACEHOLDERS)}", word)


def _commands(spec: TargetSpec) -> Sequence[tuple[tuple[str | int, ...], str]]:
    named = {
        "gateway": spec.gateway.command,
        "second": spec.gateway.second,
        "new": spec.client.new,
        "own": spec.client.own,
    }
    found = [((key, n), word) for key, command in named.items() for n, word in enumerate(command)]
    return [*found, *((("client", "gateway", n), word) for n, word in enumerate(spec.client.gateway))]
