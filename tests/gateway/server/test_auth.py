"""Credentials, failed attempts, scopes."""

from __future__ import annotations

import pytest

from lockjaw.addresses import is_loopback
from lockjaw.gateway.auth import Credentials, FailureLimit, Peer, Verdict, refusal, scopes_allow
from lockjaw.gateway.links import PreauthBudget

REMOTE = Peer("203.0.113.9", False)


@pytest.mark.parametrize(
    ("credentials", "token", "password", "verdict"),
    [
        (Credentials("none"), None, None, Verdict(True, "none")),
        (Credentials("token", "t"), "t", None, Verdict(True, "token")),
        (Credentials("token", "t"), "u", "t", Verdict(False, reason="token_mismatch")),
        (Credentials("token", "t"), None, "t", Verdict(False, reason="token_missing")),
        (Credentials("token", "t"), "", None, Verdict(False, reason="token_missing")),
        (Credentials("token", None), "x", None, Verdict(False, reason="token_mismatch")),
        (Credentials("token", ""), "", None, Verdict(False, reason="token_missing")),
        (Credentials("password", password="é"), None, "é", Verdict(True, "password")),
        (Credentials("password", password="p"), None, "q", Verdict(False, reason="password_mismatch")),
        (Credentials("token", "t"), "\ud800", None, Verdict(False, reason="token_mismatch")),
    ],
)
def test_credentials_are_compared(credentials, token, password, verdict):
    assert credentials.check(token, password) == verdict


def test_credentials_do_not_show():
    assert "s3cret" not in repr(Credentials("token", "s3cret", "s3cret"))


def test_failures_spread_over_more_than_a_minute_do_not_lock_out():
    limit = FailureLimit()
    for n in range(30):
        limit.failed(REMOTE, n * 7.0)  # never ten within sixty seconds
        assert not limit.blocked(REMOTE, n * 7.0)


def test_lockout_lasts_five_minutes_and_is_swept():
    limit = FailureLimit()
    for n in range(10):
        assert not limit.blocked(REMOTE, float(n))
        limit.failed(REMOTE, float(n))
    assert limit.blocked(REMOTE, 9.0)
    assert limit.blocked(REMOTE, 308.9)
    assert not limit.blocked(REMOTE, 309.0)
    limit.failed(REMOTE, 309.0)
    limit.sweep(309.0)
    assert limit._locked_until == {}
    assert list(limit._failures) == [REMOTE.address]
    limit.sweep(400.0)
    assert limit._failures == {}


@pytest.mark.parametrize(
    ("requested", "allowed", "covered"),
    [
        (["operator.read"], ["operator.write"], True),
        (["operator.write"], ["operator.read"], False),
        (["operator.approvals"], ["operator.admin"], True),
        (["operator.approvals"], ["operator.write"], False),
        (["node.x"], ["operator.admin"], False),
        ([], [], True),
    ],
)
def test_scopes_cover_each_other(requested, allowed, covered):
    assert scopes_allow(requested, allowed) is covered


def test_methods_name_the_scope_that_is_missing():
    assert refusal("agent", "operator", ["operator.read"]) == "missing scope: operator.write"
    assert refusal("status", "operator", []) == "missing scope: operator.read"
    assert refusal("agent.wait", "operator", ["operator.write"]) is None
    assert refusal("config.apply", "operator", ["operator.write"]) == "missing scope: operator.admin"
    assert refusal("health", "operator", []) is None
    assert refusal("agent", "node", ["operator.admin"]) == "unauthorized role: node"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.1", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_addresses_are_told_without_a_name_server(host, own):
    assert is_loopback(host) is own


def test_one_socket_too_many_costs_the_oldest_silent_one_of_its_address_the_place():
    budget, cut = PreauthBudget(2), []
    spoke = budget.admit("a", lambda: cut.append("spoke"))
    spoke.spoken = True
    silent = budget.admit("a", lambda: cut.append("silent"))
    budget.admit("b", lambda: cut.append("b"))
    assert cut == []

    third = budget.admit("a", lambda: cut.append("third"))
    assert cut == ["silent"]
    third.spoken = True
    budget.admit("a", lambda: cut.append("fourth"))
    assert cut == ["silent", "spoke"], "all have spoken, so the oldest"

    silent.release()  # it is gone, and takes nobody's place with it
    third.release()
    third.release()
    budget.admit("a", lambda: cut.append("fifth"))
    assert cut == ["silent", "spoke"]


def test_failures_of_this_machine_do_not_lock_out_who_comes_through_its_proxy():
    limit = FailureLimit()
    local, proxied = Peer("127.0.0.1", True), Peer("127.0.0.1", True, forwarded=True)
    for _ in range(20):
        limit.failed(local, 0.0)
    assert not limit.blocked(local, 0.0)
    assert not limit.blocked(proxied, 0.0)
    for _ in range(10):
        limit.failed(proxied, 0.0)
    assert limit.blocked(proxied, 0.0)
    assert not limit.blocked(local, 0.0)
