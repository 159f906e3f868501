"""The ``result`` object of a turn: what the gateway sends and the command line prints.

Source: protocol facts B3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockjaw.runner.turn import TIMEOUT_TEXT, Message, text_of
from lockjaw.settings import ModelRef


def result(
    payloads: list[dict[str, Any]], session_id: str, ref: ModelRef, usage: Mapping[str, Any], stop_reason: str,
    *, aborted: bool = False,
) -> dict[str, Any]:  # fmt: skip
    meta_usage = {k: usage.get(k, 0) for k in ("input", "output", "cacheRead", "cacheWrite")}
    agent_meta = {
        "sessionId": session_id, "provider": ref.provider, "model": ref.model,
        "usage": {**meta_usage, "total": usage.get("totalTokens", 0)},
    }  # fmt: skip
    return {
        "payloads": payloads,
        "meta": {"durationMs": 0, "agentMeta": agent_meta, "aborted": aborted, "stopReason": stop_reason},
    }


def result_of(message: Message, session_id: str) -> dict[str, Any]:
    """The ``result`` object of an answer that stands in a transcript."""
    ref = ModelRef(str(message.get("provider", "")), str(message.get("model", "")))
    usage = message.get("usage")
    payloads = [{"text": text_of(message.get("content")), "mediaUrl": None}]
    return result(
        payloads, session_id, ref, usage if isinstance(usage, dict) else {}, str(message.get("stopReason", "stop"))
    )


def timed_out_result(session_id: str, ref: ModelRef, *, limit_s: float) -> dict[str, Any]:
    """What a run says whose own limit ends the chain (2026.9.6)."""
    payloads = [{"text": TIMEOUT_TEXT, "mediaUrl": None, "isError": True}]
    timed_out = result(payloads, session_id, ref, {}, "aborted", aborted=True)
    timed_out["meta"]["error"] = {"kind": "timeout", "message": f"run limit of {round(limit_s * 1000)}ms passed"}
    return timed_out
