"""Ollama's own API on the wire (chat, generate, show): JSON lines, and streaming unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lockjaw.clock import iso

from .bodies import arguments_object, encode, rough_tokens
from .surface import (
    EPOCH,
    ApiError,
    ChatRequest,
    ErrorKind,
    ErrorWords,
    Question,
    Reply,
    ReplyCall,
    Surface,
    refused,
)

ERRORS: dict[ErrorKind, ErrorWords] = {
    "bad_request": ErrorWords(400, "invalid request"),
    "auth": ErrorWords(401, "unauthorized"),
    "billing": ErrorWords(402, "payment required"),
    "permission": ErrorWords(403, "forbidden"),
    "model_not_found": ErrorWords(404, "model '{model}' not found"),
    "not_found": ErrorWords(404, "404 page not found"),
    "too_large": ErrorWords(413, "request too large"),
    "context_length": ErrorWords(400, "the input length exceeds the context length"),
    "rate_limit": ErrorWords(429, "too many requests"),
    "quota": ErrorWords(429, "you have reached your usage limit"),
    "server_error": ErrorWords(500, "llama runner process has terminated: exit status 2"),
    "bad_gateway": ErrorWords(502, "bad gateway"),
    "unavailable": ErrorWords(503, "server unavailable"),
    "timeout": ErrorWords(504, "timed out waiting for llama runner to start"),
    "overloaded": ErrorWords(503, "server busy, please try again.  maximum pending requests exceeded"),
}
_GO = "json: cannot unmarshal value into Go struct field"
_ROLES = ("system", "user", "assistant", "tool")
_DONE = {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "stop"}
CONTEXT_TOKENS = 131_072
_NS_PER_TOKEN = 1_000_000  # the durations that a reply claims are invented: a reply's bytes do not depend on time


class Ollama(Surface):
    """``POST /api/chat``."""

    name = "ollama-chat"
    stream_type = "application/x-ndjson"
    broken_event = b'{"broken": \n'

    errors = ERRORS
    not_json = "invalid character in the JSON body"
    not_an_object = "json: cannot unmarshal value into Go value of type api.ChatRequest"

    def model_in_body(self, value: dict[str, Any]) -> str:
        model = value.get("model")
        if not isinstance(model, str) or not model:
            raise refused("model is required")
        return model

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        stream = _stream(value, "ChatRequest")
        messages = value.get("messages", [])
        if not isinstance(messages, list):
            raise refused(f"{_GO} ChatRequest.messages")
        if not messages:
            raise refused("this fake loads no models on request: messages must not be empty")
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("content", ""), str):
                raise refused(f"{_GO} ChatRequest.messages")
            if message.get("role") not in _ROLES:
                raise refused(f"invalid role: {message.get('role')}")
        return self.asked(model, value, messages, stream=stream, after_tool=messages[-1]["role"] == "tool")

    @staticmethod
    def error_object(error: ApiError) -> str:
        return error.message

    def models(self, names: Sequence[str], created: int) -> bytes:
        made = iso(created * 1000)
        details = {"parent_model": "", "format": "gguf", "family": "lockjaw", "parameter_size": "0B"}
        listed = [
            {"name": name, "model": name, "modified_at": made, "size": 0, "digest": "0" * 64, "details": details}
            for name in names
        ]
        return encode({"models": listed})

    def whole(self, reply: Reply) -> bytes:
        return encode(_head(reply) | {"message": _message(reply)} | last_fields(reply))

    def stream(self, reply: Reply) -> OllamaStream:
        return OllamaStream(reply)


class OllamaGenerate(Ollama):
    """``POST /api/generate``: a prompt instead of messages, and text without a message around it."""

    name = "ollama-generate"
    not_an_object = "json: cannot unmarshal value into Go value of type api.GenerateRequest"

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        stream, prompt = _stream(value, "GenerateRequest"), value.get("prompt", "")
        if not isinstance(prompt, str):
            raise refused(f"{_GO} GenerateRequest.prompt of type string")
        if not prompt:
            raise refused("this fake loads no models on request: prompt must not be empty")
        tokens = rough_tokens((value.get("system", ""), prompt))
        return ChatRequest(model, stream, True, 1, tuple(sorted(value)), tokens, prompt)

    def whole(self, reply: Reply) -> bytes:
        return encode(_head(reply) | _bare(_message(reply)) | last_fields(reply) | {"context": []})

    def stream(self, reply: Reply) -> OllamaStream:
        return OllamaGenerateStream(reply)


def _head(reply: Reply) -> dict[str, Any]:
    return {"model": reply.request.model, "created_at": iso(reply.created * 1000)}


def _message(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["thinking"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [call_object(index, call) for index, call in enumerate(reply.calls)]
    return message


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    more = {key: message[key] for key in ("thinking", "tool_calls") if key in message}
    return {"response": message["content"]} | more


def call_object(index: int, call: ReplyCall) -> dict[str, Any]:
    function = {"index": index, "name": call.name, "arguments": arguments_object(call.arguments)}
    return {"id": call.id or f"call_{call.key}", "function": function}


def last_fields(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    reading, writing = usage.prompt * _NS_PER_TOKEN, usage.completion * _NS_PER_TOKEN
    return {
        "done": True,
        "done_reason": _DONE[reply.reason],
        "total_duration": reading + writing,
        "load_duration": 0,
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": reading,
        "eval_count": usage.completion,
        "eval_duration": writing,
    }


class OllamaStream:
    """One line per token; the last one has the reason and the counts. There is no end mark but ``"done":true``."""

    before_token, after_token = b',"message":{"role":"assistant","content":', b'},"done":false}\n'

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._head = encode(_head(reply))[:-1] + self.before_token

    def reasoning(self, text: str) -> bytes:
        return self._line({"role": "assistant", "content": "", "thinking": text})

    def token(self, text: str) -> bytes:
        return self._head + encode(text) + self.after_token

    def tool_call(self, index: int, call: ReplyCall) -> bytes:
        return self._line({"role": "assistant", "content": "", "tool_calls": [call_object(index, call)]})

    def finish(self) -> bytes:
        return b""

    def done(self) -> bytes:
        last = self._body({"role": "assistant", "content": ""}) | last_fields(self._reply)
        return encode(_head(self._reply) | last) + b"\n"

    def error(self, error: ApiError) -> bytes:
        return encode({"error": error.message}) + b"\n"

    def _line(self, message: dict[str, Any]) -> bytes:
        return encode(_head(self._reply) | self._body(message) | {"done": False}) + b"\n"

    def _body(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"message": message}


class OllamaGenerateStream(OllamaStream):
    """As that, with ``response`` where a chat has a message."""

    before_token, after_token = b',"response":', b',"done":false}\n'

    def _body(self, message: dict[str, Any]) -> dict[str, Any]:
        return _bare(message)


# --------------------------------------------------------------------------- requests


def _stream(value: dict[str, Any], type_name: str) -> bool:
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise refused(f"{_GO} {type_name}.stream of type bool")
    return stream is not False


def show(surface: Surface, body: bytes) -> Question:
    """``POST /api/show``: what a client asks before its first chat. Raises RequestRefused.

    The window is invented, as the model is: clients want a number, and stop to ask when they have one.
    """
    value = surface.object_of(body, "json: cannot unmarshal value into Go value of type api.ShowRequest")
    model = surface.model_in_body({"model": value.get("model") or value.get("name")})  # older clients say name
    document = {
        "license": "",
        "modelfile": f"FROM {model}\n",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": {"parent_model": "", "format": "gguf", "family": "lockjaw", "parameter_size": "0B"},
        "model_info": {"general.architecture": "lockjaw", "lockjaw.context_length": CONTEXT_TOKENS},
        "capabilities": ["completion", "tools", "thinking"],
        "modified_at": iso(EPOCH * 1000),
    }
    return Question(model, encode(document))
