"""OpenAI Responses on the wire: items in, items out, and a stream that announces every part of every item."""

from __future__ import annotations

from typing import Any

from .bodies import encode, fragments
from .openai_chat import OpenAISurface, call_id, checked_tools, missing, wrong_type
from .pairing import Pairing, PairingWords
from .surface import ApiError, ChatRequest, Reply, ReplyCall, Tokens, refused

_ROLES = ("user", "assistant", "system", "developer")
_NOT_GIVEN = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
_PAIRS = PairingWords(
    unknown="No tool call found for function call output with call_id {id}.",
    unanswered="No tool output found for function call {first}.",
)
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses(OpenAISurface):
    """``POST .../responses``."""

    name = "openai-responses"
    broken_event = b'event: response.output_text.delta\ndata: {"broken": \n\n'

    def model_in_body(self, value: dict[str, Any]) -> str:
        model = value.get("model")
        if not isinstance(model, str) or not model:
            raise missing("model")
        return model

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        items = _check_input(value)
        _check_options(value)
        texts = [value.get("instructions"), *(item.get("content", item.get("output")) for item in items)]
        after_tool = bool(items) and str(items[-1].get("type", "")).endswith("_call_output")
        stream = value.get("stream") is True
        return self.asked(model, value, items, stream=stream, after_tool=after_tool, texts=texts)

    def whole(self, reply: Reply) -> bytes:
        items = []
        if reply.reasoning:
            items.append(reasoning_item(reply.key, reply.reasoning))
        if reply.text or not reply.calls:
            items.append(message_item(reply.key, reply.text, "completed"))
        items += [call_item(call, call.arguments, "completed") for call in reply.calls]
        return encode(response(reply, items, finished=True))

    def stream(self, reply: Reply) -> ResponseStream:
        return ResponseStream(reply)


def response(reply: Reply, items: list[dict[str, Any]], *, finished: bool) -> dict[str, Any]:
    why = _INCOMPLETE.get(reply.reason) if finished else None
    return {
        "id": f"resp_{reply.key}",
        "object": "response",
        "created_at": reply.created,
        "status": "in_progress" if not finished else "incomplete" if why else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": reply.request.model,
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage_object(reply.usage) if finished else None,
        "user": None,
        "metadata": {},
    }


def usage_object(usage: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def reasoning_item(key: str, text: str) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": f"rs_{key}", "type": "reasoning", "summary": summary}


def message_item(key: str, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [text_part(text)]
    return {"id": f"msg_{key}", "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(call: ReplyCall, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{call.key}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id(call),
        "name": call.name,
    }


class ResponseStream:
    """Events of one reply, numbered. An item is announced, filled, and closed when the next one comes."""

    def __init__(self, reply: Reply) -> None:
        self._reply, self._key = reply, reply.key
        self._number = 0
        self._items: list[dict[str, Any]] = []  # that are closed
        self._open, self._id = "", ""  # kind and id of the open item
        self._text = ""  # of the open item

    def reasoning(self, text: str) -> bytes:
        opened = b""
        if self._open != "reasoning":
            part = {"type": "summary_text", "text": ""}
            opened = self._announce("reasoning", reasoning_item(self._key, ""))
            opened += self._in_item("response.reasoning_summary_part.added", summary_index=0, part=part)
        self._text += text
        return opened + self._in_item("response.reasoning_summary_text.delta", summary_index=0, delta=text)

    def token(self, text: str) -> bytes:
        opened = b"" if self._open == "message" else self._message()
        self._text += text
        return opened + self._in_item("response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def tool_call(self, index: int, call: ReplyCall) -> bytes:
        events = [self._announce("function_call", call_item(call, "", "in_progress"))]
        for part in fragments(call.arguments):
            events.append(self._in_item("response.function_call_arguments.delta", delta=part))
        done = "response.function_call_arguments.done"
        events.append(self._in_item(done, arguments=call.arguments, name=call.name))
        events.append(self._close(call_item(call, call.arguments, "completed")))
        return b"".join(events)

    def finish(self) -> bytes:
        if self._items or self._open:
            return self._closed()
        return self._message() + self._closed()  # a reply without words has an empty message

    def done(self) -> bytes:
        """``response.completed``, or ``response.incomplete``: this vendor sends no [DONE]."""
        final = response(self._reply, self._items, finished=True)
        return self._event(f"response.{final['status']}", response=final)

    def error(self, error: ApiError) -> bytes:
        said = OpenAISurface.error_object(error)
        fields = {"code": said["code"] or said["type"], "message": said["message"], "param": said["param"]}
        return self._begun() + self._event("error", **fields)

    # ------------------------------------------------------------------ items

    def _message(self) -> bytes:
        opened = self._announce("message", message_item(self._key, None, "in_progress"))
        return opened + self._in_item("response.content_part.added", content_index=0, part=text_part(""))

    def _announce(self, kind: str, item: dict[str, Any]) -> bytes:
        before = self._begun() + self._closed()
        self._open, self._text, self._id = kind, "", item["id"]
        return before + self._event("response.output_item.added", output_index=len(self._items), item=item)

    def _begun(self) -> bytes:
        if self._number:
            return b""
        begun = response(self._reply, [], finished=False)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _closed(self) -> bytes:
        """Close the open item, if there is one."""
        text = self._text
        match self._open:
            case "reasoning":
                part = {"type": "summary_text", "text": text}
                return (
                    self._in_item("response.reasoning_summary_text.done", summary_index=0, text=text)
                    + self._in_item("response.reasoning_summary_part.done", summary_index=0, part=part)
                    + self._close(reasoning_item(self._key, text))
                )
            case "message":
                return (
                    self._in_item("response.output_text.done", content_index=0, text=text, logprobs=[])
                    + self._in_item("response.content_part.done", content_index=0, part=text_part(text))
                    + self._close(message_item(self._key, text, "completed"))
                )
        return b""

    def _close(self, item: dict[str, Any]) -> bytes:
        index, self._open = len(self._items), ""
        self._items.append(item)
        return self._event("response.output_item.done", output_index=index, item=item)

    def _in_item(self, type_: str, **fields: Any) -> bytes:
        return self._event(type_, item_id=self._id, output_index=len(self._items), **fields)

    def _event(self, type_: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        data = encode({"type": type_, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), data)


# --------------------------------------------------------------------------- requests


def _check_input(value: dict[str, Any]) -> list[dict[str, Any]]:
    given = value.get("input")
    if given is None:
        if any(value.get(key) for key in ("previous_response_id", "prompt", "conversation")):
            return []
        raise refused(_NOT_GIVEN, "input", "missing_required_parameter")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong_type("input", "one of a string or array of objects", given)
    pairing = Pairing(_PAIRS)
    for index, item in enumerate(given):
        at = f"input[{index}]"
        if not isinstance(item, dict):
            raise wrong_type(at, "an object", item)
        match item.get("type", "message"):
            case "message":
                _check_message(at, item)
            case "function_call":
                pairing.called([_text(at, item, "call_id")])
                _text(at, item, "name")
                _text(at, item, "arguments")
            case "function_call_output":
                call = _text(at, item, "call_id")
                if value.get("previous_response_id"):
                    pairing.called([call])  # it may stand in that response
                pairing.answered(call, at, "input")
    pairing.settled("input", "input")
    return given


def _check_message(at: str, item: dict[str, Any]) -> None:
    if "role" not in item:
        raise missing(f"{at}.role")
    if item["role"] not in _ROLES:
        supported = "Supported values are: 'assistant', 'system', 'developer', and 'user'."
        raise refused(f"Invalid value: '{item['role']}'. {supported}", f"{at}.role", "invalid_value")
    if not isinstance(item.get("content"), (str, list)):
        raise wrong_type(f"{at}.content", "one of a string or array of objects", item.get("content"))


def _text(at: str, item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if value is None:
        raise missing(f"{at}.{key}")
    if not isinstance(value, str):
        raise wrong_type(f"{at}.{key}", "a string", value)
    return value


def _check_options(value: dict[str, Any]) -> None:
    stream, limit = value.get("stream"), value.get("max_output_tokens")
    if stream is not None and not isinstance(stream, bool):
        raise wrong_type("stream", "a boolean", stream)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise wrong_type("max_output_tokens", "an integer", limit)
    if limit is not None and limit < 16:
        text = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {limit}"
        raise refused(f"{text} instead.", "max_output_tokens", "integer_below_min_value")
    for index, tool in enumerate(checked_tools(value)):
        if tool["type"] == "function" and not isinstance(tool.get("name"), str):
            raise missing(f"tools[{index}].name")
