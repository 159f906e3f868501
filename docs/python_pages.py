"""The pages that stand in signatures and docstrings: the lock's API, the command line, the pytest plugin."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from markdown_pieces import code, prose, table

from lockjaw import pytest_plugin
from lockjaw.cli import verbs
from lockjaw.errors import Fenced, LockLost, LockStateError, OwnerChanged, SessionLocked
from lockjaw.locking import FileLock, HeldLock, LockView, SessionLock, inspect_lock


def lock_api() -> Iterator[str]:
    yield "# The lock in Python"
    yield f"```python\n{LOCK_EXAMPLE}```"
    yield (
        "All durations are nominal seconds, which are ordinary seconds outside a harness run. A `SessionLock` is made "
        "for each turn or used again, as you like: both cost about the same. A turn that may hold the lock for longer "
        "than five minutes names its own `max_hold_s`, or it loses the lock and may write no more."
    )
    for cls in (SessionLock, HeldLock, FileLock):
        yield f"## {cls.__name__}"
        yield prose(cls.__doc__)
        if cls is SessionLock:
            yield f"### {cls.__name__}({_arguments(cls.__init__)})"
            yield _parameters(cls.__init__, cls.__doc__)
        if cls is FileLock:
            continue
        for name, member in vars(cls).items():
            if name.startswith("_") or name in _WATCHDOGS_OWN:
                continue
            if isinstance(member, property):
                yield f"### .{name}"
                yield prose(member.fget.__doc__) or _section(cls.__doc__, "Attributes")[name]
            elif callable(member):
                function = inspect.unwrap(member)
                yield f"### .{name}({_arguments(function)})"
                yield prose(function.__doc__)
                yield from _notes(function)
        for name in _section(cls.__doc__, "Attributes"):
            if name not in vars(cls) or not isinstance(vars(cls)[name], property):
                yield f"### .{name}"
                yield _section(cls.__doc__, "Attributes")[name]
    yield "## Errors"
    rows = [
        (code(cls.__name__), prose(cls.__doc__))
        for cls in (SessionLocked, Fenced, LockLost, LockStateError, OwnerChanged)
    ]
    yield table(("error", "what it means"), rows)
    yield "## inspect_lock(session_file)"
    yield prose(inspect_lock.__doc__) + " It returns a `LockView`:"
    yield table(("field", "what it says"), [(code(k), v) for k, v in _section(LockView.__doc__, "Args").items()])


LOCK_EXAMPLE = """\
# test_the_lock.py
from lockjaw.locking import SessionLock


def append(transcript, line):
    with SessionLock(transcript, timeout=10.0) as held:
        with held.section(), transcript.open("a") as file:
            file.write(line)


def test_the_lock(tmp_path):
    append(tmp_path / "main.jsonl", "{}")
    lock = SessionLock(tmp_path / "main.jsonl", reentrant=True)
    with lock.acquire(timeout=1.0), lock.acquire(blocking=False):
        assert lock.is_locked
    assert not lock.is_locked
"""
_WATCHDOGS_OWN = {"belongs_to_parent", "release_at_exit", "stop_at_limit", "suspends", "suspend_async", "resume_async"}


def _notes(function: Any) -> Iterator[str]:
    if _section(function.__doc__, "Args"):
        yield _parameters(function, function.__doc__)
    raises = _section(function.__doc__, "Raises")
    if raises:
        yield table(("raises", "when"), [(code(name), text) for name, text in raises.items()])


def _parameters(function: Any, docstring: str | None) -> str:
    """Each argument with its default and its note; a blank note fails the build."""
    notes, rows = _section(docstring, "Args"), []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        required = parameter.default is inspect.Parameter.empty
        shown = "required" if required else "this process" if name == "host" else code(repr(parameter.default))
        rows.append((code(name), shown, notes[name]))
    return table(("argument", "default", "meaning"), rows)


def _section(docstring: str | None, title: str) -> dict[str, str]:
    """The entries of one section of a docstring, such as its arguments: ``name, other: text``."""
    _, _, rest = inspect.cleandoc(docstring or "").partition(f"\n{title}:\n")
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        head = re.match(r"    (\w[\w, ]*): ?(.*)", line)
        if head:
            names = head[1].split(", ")
            entries |= dict.fromkeys(names, head[2])
        else:
            entries |= {name: f"{entries[name]} {line.strip()}" for name in names}
    return {name: text.replace("``", "`").strip() for name, text in entries.items()}


def command_line() -> Iterator[str]:
    yield "# Command line"
    yield "Every command has `--help`. Exit status: see [Exit status](exit-status.md)."
    for path, command in sorted(verbs.walk(), key=lambda found: found[0]):
        if not hasattr(command, "commands"):
            yield from _command(" ".join(("lockjaw", *path)), command)


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"## {path}"
    yield prose(command.help)
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = code(str(parameter.name).upper() + ("..." if parameter.nargs == -1 else ""))
        rows.append((names, getattr(parameter, "help", "") or "", _default(parameter)))
    if rows:
        yield table(("option", "meaning", "default"), rows)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "-" if value is None or value is False or callable(value) else code(value)


def plugin() -> Iterator[str]:
    yield "# pytest plugin"
    yield "Installed with Lockjaw; pytest finds it by itself. It imports nothing of Lockjaw before a test uses it."
    yield "## Marker"
    call, _, meaning = pytest_plugin.MARKER.partition(": ")
    yield f"`@pytest.mark.{call}`\n\n{meaning[0].upper()}{meaning[1:]}."
    yield "## Options"
    parser = _Options()
    pytest_plugin.pytest_addoption(parser)  # type: ignore[arg-type]
    yield table(("option", "meaning"), parser.rows)
    yield "## Fixtures"
    rows = []
    for name, fixture in vars(pytest_plugin).items():
        function = getattr(fixture, "_fixture_function", None)
        if function is not None:
            rows.append((code(name), prose(function.__doc__)))
    yield table(("fixture", "what a test gets"), rows)
    from lockjaw.fakes.contenders import contender
    from lockjaw.testing import fake_model, mock_gateway, scenario_runs

    yield "A fixture that yields a fake has these members:"
    for name, cls in (
        ("lockjaw_run", scenario_runs.ScenarioRuns), ("fake_model", fake_model.FakeModel),
        ("mock_gateway", mock_gateway.GatewayFixture), ("lock_contender", contender.Contender),
    ):  # fmt: skip
        yield f"### {name}"
        yield prose(cls.__doc__)
        yield table(("member", "what it does"), list(_members(cls)))


_PLUGINS_OWN = {"perform", "section", "close"}


def _members(cls: type) -> Iterator[tuple[str, str]]:
    for name, member in vars(cls).items():
        public = name == "__call__" or not (name.startswith("_") or name in _PLUGINS_OWN)
        function = member.fget if isinstance(member, property) else inspect.unwrap(member) if callable(member) else None
        if not public or function is None:
            continue
        arguments = "" if isinstance(member, property) else f"({_arguments(function)})"
        shown = f"(call){arguments}" if name == "__call__" else f".{name}{arguments}"
        assert function.__doc__, f"{cls.__name__}.{name}: no docstring"
        yield code(shown), prose(function.__doc__)


def _arguments(function: Any) -> str:
    return ", ".join(list(inspect.signature(function).parameters)[1:])


class _Options:
    """Stands in for pytest's parser: keeps what the plugin adds."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def getgroup(self, *_: str) -> _Options:
        return self

    def addoption(self, name: str, *, help: str, metavar: str, **_: Any) -> None:
        self.rows.append((code(f"{name} {metavar}"), help))
