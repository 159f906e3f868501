"""One turn: from the user's message to the answer, by way of tool calls. Pure.

Theory of operation. The machine takes inputs (the model replied, a tool finished, ...) and returns effects
that the shell performs *in order*; the last effect of each list is the one to wait for (``CallModel`` or
``RunTool``) or the end (``Finish``). Time comes in as ``now_ms`` (nominal Unix milliseconds).

Once-ness. ``AppendMessage(assistant)`` with the tool calls always comes before the first ``RunTool`` of that
message, and a result is appended before the next tool starts. So the transcript on disk tells whoever
continues the turn after a crash exactly this much: a call with a result has happened; a call without one
may or may not have happened. The other order (run, then write) would leave effects that no record names,
and the successor would run the tool a second time. A call without a result is closed as *interrupted* for
the model to judge, and run again only when its tool says that a second run does no harm.

This module knows no asyncio, file, clock or network. The transitions are the table ``TRANSITIONS``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import msgspec

from lockjaw.sessions.turns import interrupted_result
from lockjaw.settings import ModelRef

Message = dict[str, Any]  # the message objects of a transcript

TIMEOUT_TEXT = (
    "Request timed out before a response was generated. Please try again, "
    "or increase `agents.defaults.timeoutSeconds` in your config."
)
EMPTY_TEXT = "⚠️ Agent couldn't generate a response. Please try again."
EMPTY_AFTER_TOOLS_TEXT = (
    "⚠️ Agent couldn't generate a response. Note: some tool actions may have already been executed "
    "— please verify before retrying."
)
ABORTED_ERROR = "Request was aborted"
API = "openai-completions"
MAX_ROUNDS = 32  # model calls of one turn: enough for long tool work, an end for a model that goes in circles


# --------------------------------------------------------------------------- what goes in


class ToolCall(msgspec.Struct, frozen=True):
    """One call that the model asked for. ``problem`` says why it cannot be run at all (empty: it can)."""

    id: str
    name: str
    arguments: dict[str, Any]
    problem: str = ""


class Reply(Protocol):
    """What the machine reads of a model's reply (``lockjaw.runner.models.ModelReply``)."""

    @property
    def content(self) -> list[dict[str, Any]]: ...
    @property
    def usage(self) -> dict[str, Any]: ...
    @property
    def stop_reason(self) -> str: ...
    @property
    def response_id(self) -> str | None: ...
    @property
    def invalid_arguments(self) -> Mapping[str, str]: ...


class Outcome(Protocol):
    """What the machine reads of a tool's outcome (``lockjaw.runner.tools.ToolOutcome``)."""

    @property
    def text(self) -> str: ...
    @property
    def is_error(self) -> bool: ...
    @property
    def details(self) -> dict[str, Any] | None: ...


class TurnOptions(msgspec.Struct, frozen=True):
    """The candidate that answers, and the tools: ``known`` by name, ``harmless`` those that may run twice."""

    ref: ModelRef
    known: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    max_rounds: int = MAX_ROUNDS


class HasHarmless(Protocol):
    @property
    def harmless(self) -> bool: ...


def options_for(ref: ModelRef, tools: Mapping[str, HasHarmless], *, max_rounds: int = MAX_ROUNDS) -> TurnOptions:
    """The options of a turn with these tools."""
    harmless = frozenset(name for name, tool in tools.items() if tool.harmless)
    return TurnOptions(ref, frozenset(tools), harmless, max_rounds)


# --------------------------------------------------------------------------- what comes out


class AppendMessage(msgspec.Struct, frozen=True):
    """Put the message on disk before performing the next effect."""

    message: Message


class CallModel(msgspec.Struct, frozen=True):
    """Ask the model. ``messages`` is the context so far, oldest first; ``round`` counts from 1."""

    messages: tuple[Message, ...]
    round: int


class RunTool(msgspec.Struct, frozen=True):
    """Run the tool. ``rerun``: an interrupted call of an earlier run whose tool is harmless."""

    call: ToolCall
    rerun: bool = False


class Finish(msgspec.Struct, frozen=True):
    """The turn is over.

    ``text`` is the payload for the user; ``stop_reason`` is ``stop``, ``length``, ``error`` or ``aborted``.
    ``error`` is set when the attempt failed and the fallback chain decides what comes next; the text is then
    empty. ``partial`` is what the user could have seen of an unfinished answer.
    """

    text: str
    stop_reason: str
    is_error: bool = False
    error: BaseException | None = None
    partial: str = ""


Effect = AppendMessage | CallModel | RunTool | Finish


# --------------------------------------------------------------------------- the table


class State(Enum):
    NEW = "new"
    MODEL = "waiting for the model"
    TOOL = "waiting for a tool"
    ENDED = "ended"


class Input(Enum):
    START = "start"
    MODEL_REPLIED = "model_replied"
    MODEL_FAILED = "model_failed"
    TOOL_FINISHED = "tool_finished"
    ABORTED = "aborted"


#: (state, input) -> the states it may lead to. A pair that is not here is a bug of the caller.
TRANSITIONS: dict[tuple[State, Input], frozenset[State]] = {
    (State.NEW, Input.START): frozenset({State.MODEL, State.TOOL}),
    (State.NEW, Input.ABORTED): frozenset({State.ENDED}),
    (State.MODEL, Input.MODEL_REPLIED): frozenset({State.MODEL, State.TOOL, State.ENDED}),
    (State.MODEL, Input.MODEL_FAILED): frozenset({State.ENDED}),
    (State.MODEL, Input.ABORTED): frozenset({State.ENDED}),
    (State.TOOL, Input.TOOL_FINISHED): frozenset({State.TOOL, State.MODEL, State.ENDED}),
    (State.TOOL, Input.ABORTED): frozenset({State.ENDED}),
    # Late: the input crossed the end on its way. It is dropped, without effects.
    (State.ENDED, Input.MODEL_REPLIED): frozenset({State.ENDED}),
    (State.ENDED, Input.MODEL_FAILED): frozenset({State.ENDED}),
    (State.ENDED, Input.TOOL_FINISHED): frozenset({State.ENDED}),
    (State.ENDED, Input.ABORTED): frozenset({State.ENDED}),
}


class IllegalTransition(RuntimeError):
    """The caller gave an input that the state does not allow. Fields: ``state``, ``input``."""

    def __init__(self, state: State, received: Input) -> None:
        self.state, self.input = state, received
        super().__init__(f"a turn that is {state.value} cannot take {received.value!r}")


# --------------------------------------------------------------------------- the machine


@dataclass
class Turn:
    """The machine.

    Args:
        context: the conversation so far, oldest first, as transcript messages.
        options: candidate and tools.
        prompt: the user message to append first; None when it stands in the context already (a turn that
            is continued).
        pending: tool calls of the context that have no result: an earlier run was interrupted there.
    """

    context: Sequence[Message]
    options: TurnOptions
    prompt: Message | None = None
    pending: Sequence[ToolCall] = ()
    state: State = field(default=State.NEW, init=False)
    round: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._messages: list[Message] = list(self.context)
        self._ids = {call.id for message in self.context for call in calls_of(message)}
        self._queue: deque[ToolCall] = deque(self.pending)
        self._inherited = {call.id for call in self.pending}
        self._running: ToolCall | None = None
        self._called_ms = 0
        self._touched_world = False  # a tool that is not harmless was started in this turn

    @property
    def messages(self) -> tuple[Message, ...]:
        """The context, with everything that this turn appended."""
        return tuple(self._messages)

    # ------------------------------------------------------------------ inputs

    def start(self, now_ms: int) -> list[Effect]:
        """Begin, or continue where an earlier run was interrupted."""
        self._enter(Input.START)
        effects: list[Effect] = []
        if self.prompt is not None:
            self._append(effects, self.prompt)
        return self._go_on(effects, now_ms, Input.START)

    def model_replied(self, reply: Reply, now_ms: int) -> list[Effect]:
        """The model answered, with or without tool calls."""
        if self._enter(Input.MODEL_REPLIED):
            return []
        content, calls = self._adopt(reply)
        stop_reason = "toolUse" if calls else "stop" if reply.stop_reason == "toolUse" else reply.stop_reason
        effects: list[Effect] = []
        self._append(effects, self._assistant(content, stop_reason, now_ms, reply.usage, reply.response_id))
        if calls:
            self._queue.extend(calls)
            return self._go_on(effects, now_ms, Input.MODEL_REPLIED)
        text = text_of(content)
        if not text.strip():
            empty = EMPTY_AFTER_TOOLS_TEXT if self._touched_world else EMPTY_TEXT
            return self._end(effects, Finish(empty, stop_reason, is_error=True), Input.MODEL_REPLIED)
        return self._end(effects, Finish(text, stop_reason), Input.MODEL_REPLIED)

    def model_failed(
        self,
        error: BaseException,
        now_ms: int,
        content: Iterable[Mapping[str, Any]] = (),
        *,
        stop_reason: str = "error",
        usage: dict[str, Any] | None = None,
        response_id: str | None = None,
    ) -> list[Effect]:
        """The attempt failed. ``content`` is what had arrived; ``stop_reason`` ``aborted`` for a run limit."""
        if self._enter(Input.MODEL_FAILED):
            return []
        kept = without_calls(content)
        text = ABORTED_ERROR if stop_reason == "aborted" else str(error)
        message = self._assistant(kept, stop_reason, now_ms, usage, response_id, error=text)
        effects: list[Effect] = []
        self._append(effects, message)
        finish = Finish("", stop_reason, is_error=True, error=error, partial=text_of(kept))
        return self._end(effects, finish, Input.MODEL_FAILED)

    def tool_finished(self, call_id: str, outcome: Outcome, now_ms: int) -> list[Effect]:
        """A tool ended, well or badly. ``call_id`` must be that of the ``RunTool`` that is under way."""
        if self._enter(Input.TOOL_FINISHED):
            return []
        call = self._running
        if call is None or call.id != call_id:
            raise IllegalTransition(self.state, Input.TOOL_FINISHED)
        self._running = None
        effects: list[Effect] = []
        self._close(effects, call, outcome.text, now_ms, is_error=outcome.is_error, details=outcome.details)
        return self._go_on(effects, now_ms, Input.TOOL_FINISHED)

    def aborted(
        self,
        now_ms: int,
        content: Iterable[Mapping[str, Any]] = (),
        *,
        usage: dict[str, Any] | None = None,
        response_id: str | None = None,
    ) -> list[Effect]:
        """Stop now, in whatever state. ``content`` is what had arrived of the model's answer.

        The call that is under way is closed as interrupted, those behind it as never started. The payload is
        the time-out text whoever stopped the run and whatever had been said: that is what upstream answers
        to an abort (evidence openclaw-2026.5.7-abort). ``Finish.partial`` keeps what had been said.
        """
        if self._enter(Input.ABORTED):
            return []
        effects: list[Effect] = []
        if self.state is State.NEW and self.prompt is not None:
            self._append(effects, self.prompt)
        if self._running is not None:
            self._interrupt(effects, self._running, now_ms)
            self._running = None
        while self._queue:
            call = self._queue.popleft()
            if call.id in self._inherited:
                self._interrupt(effects, call, now_ms)
            else:
                text = f"{call.name} was not run: the run was stopped before it began."
                details = {"interrupted": True, "started": False}
                self._close(effects, call, text, now_ms, is_error=True, details=details)
        kept = without_calls(content)
        message = self._assistant(kept, "aborted", now_ms, usage, response_id, error=ABORTED_ERROR)
        self._append(effects, message)
        finish = Finish(TIMEOUT_TEXT, "aborted", is_error=True, partial=text_of(kept))
        return self._end(effects, finish, Input.ABORTED)

    # ------------------------------------------------------------------ steps

    def _enter(self, received: Input) -> bool:
        """Check the table. True: the input is late, drop it."""
        allowed = TRANSITIONS.get((self.state, received))
        if allowed is None:
            raise IllegalTransition(self.state, received)
        return self.state is State.ENDED

    def _move(self, received: Input, target: State) -> None:
        assert target in TRANSITIONS[self.state, received], (self.state, received, target)
        self.state = target

    def _end(self, effects: list[Effect], finish: Finish, received: Input) -> list[Effect]:
        self._move(received, State.ENDED)
        effects.append(finish)
        return effects

    def _go_on(self, effects: list[Effect], now_ms: int, received: Input) -> list[Effect]:
        """The next tool of the queue, or the model when the queue is empty."""
        while self._queue:
            call = self._queue.popleft()
            inherited = call.id in self._inherited
            if inherited and call.name not in self.options.harmless:
                self._interrupt(effects, call, now_ms)
            elif call.name not in self.options.known:
                tools = ", ".join(sorted(self.options.known)) or "none"
                text = f"Unknown tool {call.name!r}. Available tools: {tools}."
                self._close(effects, call, text, now_ms, is_error=True)
            elif call.problem:
                self._close(effects, call, call.problem, now_ms, is_error=True)
            else:
                self._running = call
                self._touched_world |= call.name not in self.options.harmless
                self._move(received, State.TOOL)
                effects.append(RunTool(call, rerun=inherited))
                return effects
        if self.round >= self.options.max_rounds:
            text = f"The turn ended after {self.round} model calls without an answer (limit {self.options.max_rounds})."
            self._append(effects, self._assistant([], "error", now_ms, error=text))
            return self._end(effects, Finish(f"⚠️ {text}", "error", is_error=True), received)
        self.round += 1
        self._called_ms = now_ms
        self._move(received, State.MODEL)
        effects.append(CallModel(self.messages, self.round))
        return effects

    def _adopt(self, reply: Reply) -> tuple[list[dict[str, Any]], list[ToolCall]]:
        """The reply's content with call ids made unique in the conversation, and its calls.

        Results are paired with calls by id for the whole life of a transcript; some servers begin to count
        at ``call_0`` in every reply.
        """
        content, calls = [], []
        for part in reply.content:
            if part.get("type") == "toolCall":
                original = str(part["id"])
                part = {**part, "id": self._unique(original)}
                problem = ""
                if original in reply.invalid_arguments:
                    raw = reply.invalid_arguments[original]
                    problem = f"The arguments of {part['name']} are no JSON object: {raw[:500]}"
                calls.append(ToolCall(part["id"], part["name"], part["arguments"], problem))
            content.append(part)
        return content, calls

    def _unique(self, call_id: str) -> str:
        unique, number = call_id or "call", 1
        while unique in self._ids:
            number += 1
            unique = f"{call_id or 'call'}_{number}"
        self._ids.add(unique)
        return unique

    # ------------------------------------------------------------------ messages

    def _append(self, effects: list[Effect], message: Message) -> None:
        self._messages.append(message)
        effects.append(AppendMessage(message))

    def _interrupt(self, effects: list[Effect], call: ToolCall, now_ms: int) -> None:
        self._touched_world = True
        self._append(effects, interrupted_result(call.id, call.name, now_ms))

    def _close(
        self,
        effects: list[Effect],
        call: ToolCall,
        text: str,
        now_ms: int,
        *,
        is_error: bool,
        details: dict[str, Any] | None = None,
    ) -> None:
        message: Message = {
            "role": "toolResult",
            "toolCallId": call.id,
            "toolName": call.name,
            "content": [{"type": "text", "text": text}],
        }
        if details is not None:
            message["details"] = details
        self._append(effects, {**message, "isError": is_error, "timestamp": now_ms})

    def _assistant(
        self,
        content: list[dict[str, Any]],
        stop_reason: str,
        now_ms: int,
        usage: dict[str, Any] | None = None,
        response_id: str | None = None,
        *,
        error: str = "",
    ) -> Message:
        message: Message = {
            "role": "assistant",
            "content": content,
            "api": API,
            "provider": self.options.ref.provider,
            "model": self.options.ref.model,
            "usage": usage or zero_usage(),
            "stopReason": stop_reason,
            "timestamp": self._called_ms or now_ms,  # upstream: when the model was asked, not when it ended
        }
        if response_id:
            message["responseId"] = response_id
        if error:
            message["errorMessage"] = error
        return message


# --------------------------------------------------------------------------- reading messages


def zero_usage() -> dict[str, Any]:
    """Usage of a reply whose server counted nothing."""
    cost = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0}
    return {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "cost": cost}


def text_of(content: object) -> str:
    """The text parts of a message's content (a string, or a list of parts), one per line."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(str(part.get("text", "")) for part in parts)


def calls_of(message: Mapping[str, Any]) -> list[ToolCall]:
    """The tool calls of an assistant message; empty for every other message."""
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return []
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "toolCall")
    return [
        ToolCall(str(part.get("id", "")), str(part.get("name", "")), _object(part.get("arguments"))) for part in parts
    ]


def without_calls(content: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Content of an unfinished answer: a call that was cut off was never run and must not wait for a result."""
    return [dict(part) for part in content if part.get("type") != "toolCall"]


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
