"""What a project writes that wants the incident in its own test suite."""

import httpx
import pytest

import fakes
import harness
import reports


@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session")
def test_reuse_session_answers_the_user(): ...


@pytest.mark.lockjaw("gateway_timeout", policy="takeover")
def test_takeover_answers_the_user(): ...


def test_our_client_waits_for_a_slow_model(fake_model):
    fake_model.script({"slow-model": {"text": "Done.", "first_token_s": 20.0}})
    ask = {"model": "slow-model", "messages": [{"role": "user", "content": "long task"}]}
    reply = httpx.post(f"{fake_model.base_url}/chat/completions", json=ask)
    assert reply.json()["choices"][0]["message"]["content"] == "Done."


def test_our_own_folders_are_ours():
    assert fakes.OWNER == reports.OWNER == harness.OWNER == "the sample project"
