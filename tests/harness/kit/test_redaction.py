from __future__ import annotations

import json

import pytest

from lockjaw.harness.kit.redaction import Redactor
from lockjaw.harness.kit.rules import HISTORY_TEXTS, SCENARIO_TEXTS

from .plants import Plant, plants

SALT = bytes(range(32))
PLANTS = plants()


def survivors(plant: Plant, text: str) -> list[str]:
    return [secret for secret in plant.secrets if secret in text]


def test_at_least_thirty_kinds_are_planted() -> None:
    assert len({plant.name for plant in PLANTS}) >= 60


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_no_planted_secret_survives_in_a_text(plant: Plant) -> None:
    assert not survivors(plant, Redactor(SALT).text(f"at 12:00 {plant.text} done"))
    assert not survivors(plant, Redactor(SALT).text(plant.text))


def test_equal_things_stay_equal_in_a_kit_and_not_across_kits() -> None:
    one, other = Redactor(SALT), Redactor(SALT[::-1])

    first = one.text("alice@acme.com wrote to ALICE@acme.com and bob@acme.com")

    _, _, *_ = words = first.split()
    assert words[0] == words[3]
    assert words[0] != words[5]
    assert other.text("alice@acme.com") != words[0]
    assert Redactor(SALT).text("alice@acme.com") == words[0]


def test_a_name_that_is_known_from_its_place_is_replaced_where_it_stands_alone() -> None:
    redactor = Redactor(SALT)
    redactor.learn(["/home/wilhelmina/x", "http://build07.corp.com/"])

    assert "wilhelmina" not in redactor.text("wilhelmina logged in")
    assert "build07" not in redactor.text("build07 is down")
    assert redactor.text("wilhelminas") == "wilhelminas"


@pytest.mark.parametrize(
    "text",
    [
        "session file locked (timeout 10000ms): pid=1003 /sim/state/agents/main/sessions/x.jsonl.lock",
        "decision=candidate_failed requested=qiniu/deepseek-v3 reason=timeout next=qiniu/kimi-k2",
        "gateway timeout after 90000ms; Gateway target: ws://127.0.0.1:18789, ::1, localhost",
        "2026-11-24T00:15:26.821065+00:00 openclaw@2026.5.7 sessions.json report.html main.py v1.2.3",
        "first_token_s: 2.0, max tokens 4096, 00:15:26, 2026-04-08, gateway closed (1006 abnormal closure)",
        "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)",
        "agent:main:main agent:main:explicit:gateway-fallback-7, the exit code is 1, --token-count 4096",
        "FallbackSummaryError: All models failed (3): qiniu/glm-4.5: LLM request timed out. (timeout)",
    ],
)
def test_what_says_nothing_about_anybody_stays(text: str) -> None:
    assert Redactor(SALT).text(text) == text


def test_values_are_judged_by_their_keys() -> None:
    redactor = Redactor(SALT)

    copy = redactor.value({
        "token": "plain", "sessionId": "my-7", "host": "box", "chat_id": 123456789, "pid": 123456789,
        "headers": {"X-Api-Key": "plainer"}, "session_key": "agent:main:main", "user": "main",
    })  # fmt: skip

    assert "plain" not in json.dumps(copy)
    assert copy["sessionId"] != "my-7"
    assert copy["host"] != "box"
    assert copy["chat_id"] != 123456789
    assert (copy["pid"], copy["session_key"], copy["user"]) == (123456789, "agent:main:main", "main")


def test_message_texts_keep_their_lengths_and_nothing_else() -> None:
    text = "Call Dr. Grünwald, {n} times!\nThen rest."
    redactor = Redactor(SALT)

    copy = redactor.value({"message": text, "story": f"They asked: {text}"}, spoken=SCENARIO_TEXTS)["message"]

    assert [len(word) for word in copy.split()] == [len(word) for word in text.split()]
    assert not {"Call", "Grünwald", "times", "Then", "rest"} & set(copy.replace(",", " ").replace(".", " ").split())
    assert "{n}" in copy
    assert redactor.value({"message": f"[Thu 2026-01-01 00:00 UTC] {text}"}, spoken=HISTORY_TEXTS)["message"].endswith(
        copy
    )


def test_with_keep_text_messages_stay_and_their_secrets_do_not() -> None:
    redactor = Redactor(SALT, keep_text=True)

    copy = redactor.value({"message": "write to alice@acme.com please"}, spoken=SCENARIO_TEXTS)["message"]

    assert copy.startswith("write to ")
    assert copy.endswith(" please")
    assert "alice" not in copy


def test_a_providers_error_text_stays_because_runtimes_judge_by_it() -> None:
    step = {"error": {"status": 503, "message": "The model is overloaded"}}

    assert Redactor(SALT).value(step, spoken=SCENARIO_TEXTS) == step


def test_redacting_twice_changes_nothing_more() -> None:
    redactor = Redactor(SALT)
    once = [redactor.text(plant.text) for plant in PLANTS]
    for text in ("alice@acme.com", "+49 176 5556677", "10.1.2.3", "DESKTOP-AB12CDE"):
        first = redactor.text(text)
        assert redactor.text(first) == first
    assert all(once)


def test_a_name_that_ends_with_something_drawn_is_replaced_once() -> None:
    """Whatever was drawn in its place: one in ten looked random together with the name, and was a leak of it."""
    for salt in range(40):
        redactor = Redactor(bytes([salt] * 32))
        once = redactor.text('{"name": "report_4c1e9a7f03b8"}')
        redactor.settle()
        assert redactor.text(once) == once
        assert "4c1e9a7f03b8" not in once
        assert redactor.leaks(once) == []


def test_a_leak_is_seen_in_every_encoding() -> None:
    redactor = Redactor(SALT)
    redactor.text('mail "x" <alice.miller@acme.com>')
    import base64
    import html
    from urllib.parse import quote

    mail = "alice.miller@acme.com"
    for form in (mail, html.escape(mail), quote(mail, safe=""), base64.b64encode(f"ab{mail}".encode()).decode()):
        assert redactor.leaks(f"<p>{form}</p>") == ["email"]
    assert redactor.leaks("nothing here") == []
