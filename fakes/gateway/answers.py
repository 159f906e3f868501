"""What a gateway says: frames and payloads as plain data. Pure; knows no socket and no script state.

Written beside the project's own frame codec on purpose and not with it: a fake that shared the client's codec
could not find the client's mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .script import Failure, Final, GatewayScript, Rejection

EVENTS = ("connect.challenge", "agent", "chat", "presence", "tick", "shutdown", "health")
METHODS = (
    "health",
    "status",
    "sessions.list",
    "sessions.abort",
    "agent",
    "agent.wait",
    "chat.history",
    "chat.abort",
    "chat.send",
)
MAX_PAYLOAD_BYTES = 26_214_400
MAX_BUFFERED_BYTES = 52_428_800


def response(request_id: str, payload: Any) -> dict[str, Any]:
    return {"type": "res", "id": request_id, "ok": True, "payload": payload}


def refusal(request_id: str, failure: Failure | Rejection, payload: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": failure.code, "message": failure.message}
    more = {
        "details": failure.details,
        "retryable": failure.retryable,
        "retryAfterMs": failure.retry_after_ms,
    }
    error |= {key: value for key, value in more.items() if value is not None}
    frame: dict[str, Any] = {"type": "res", "id": request_id, "ok": False, "error": error}
    return frame if payload is None else frame | {"payload": payload}


def invalid(request_id: str, message: str) -> dict[str, Any]:
    return refusal(request_id, Failure(code="INVALID_REQUEST", message=message))


def event(name: str, payload: Any, seq: int | None = None) -> dict[str, Any]:
    frame = {"type": "event", "event": name, "payload": payload}
    return frame if seq is None else frame | {"seq": seq}


def hello(
    script: GatewayScript, *, conn_id: str, uptime_ms: int, role: str, scopes: Sequence[str], device_token: str | None
) -> dict[str, Any]:
    """The hello-ok payload, complete. ``auth`` stands in it from protocol 4 on, and whenever a device was used."""
    payload: dict[str, Any] = {
        "type": "hello-ok",
        "protocol": script.protocol,
        "server": {"version": script.version, "connId": conn_id},
        "features": {"methods": sorted({*METHODS, *script.methods}), "events": list(EVENTS)},
        "snapshot": {
            "presence": [],
            "health": {},
            "stateVersion": {"presence": 0, "health": 0},
            "uptimeMs": uptime_ms,
            "sessionDefaults": {"defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main"},
        },
        "policy": {
            "maxPayload": MAX_PAYLOAD_BYTES,
            "maxBufferedBytes": MAX_BUFFERED_BYTES,
            "tickIntervalMs": script.tick_interval_ms,
        },
    }
    if script.protocol >= 4 or device_token is not None:
        payload["auth"] = {"role": role, "scopes": list(scopes)}
    if device_token is not None:
        payload["auth"]["deviceToken"] = device_token
    return payload


def laid_over(base: Any, over: Any) -> Any:
    """Nested mappings merged, everything else replaced. A null takes the key away."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = {key: laid_over(base[key], over[key]) if key in over else value for key, value in base.items()}
    merged |= {key: value for key, value in over.items() if key not in base}
    return {key: value for key, value in merged.items() if value is not None or key not in over}


def filled(payload: Any, values: Mapping[str, Any]) -> Any:
    """A payload with each text that is exactly ``$name`` replaced by that value; unknown names stay."""
    if isinstance(payload, dict):
        return {key: filled(value, values) for key, value in payload.items()}
    if isinstance(payload, list):
        return [filled(value, values) for value in payload]
    if isinstance(payload, str) and payload.startswith("$"):
        return values.get(payload[1:], payload)
    return payload


def final_payload(run_id: str, final: Final, *, session_id: str, duration_ms: int) -> dict[str, Any]:
    result = final.result
    if result is None:
        result = {
            "payloads": [{"text": final.text, "mediaUrl": None}],
            "meta": {
                "durationMs": duration_ms,
                "agentMeta": {"sessionId": session_id, "provider": "mock", "model": "mock"},
                "aborted": False,
            },
        }
    return {"runId": run_id, "status": final.status, "summary": final.summary, "result": result}


def message(role: str, text: str, timestamp: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}], "timestamp": timestamp}
