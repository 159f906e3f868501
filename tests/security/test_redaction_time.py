"""Redaction takes time in proportion to the text, whatever the text is made of."""

from __future__ import annotations

import time

import pytest

from lockjaw.harness.kit.finding import Finder
from lockjaw.harness.kit.redaction import Redactor

KIB = 1 << 10
LIMIT_S = 2.0  # of processor time for 1 MiB; half of it is used where a neighbour is busy on the same core
#: What each rule begins with, what runs consist of, and layers of escapes: repeated, they are the worst for somebody.
UNITS = [
    "a", "a.", "A1", "a@", "a@a", "@", "a@a.a", "://a:", "://", "://a:b@", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ",
    "password=", 'password="', "password='", "password: ", "password: a b c ", "password: |\n  ", "token is ", "\\n",
    "\\", "\\\\", "/home/", "\\Users\\", "%41", "%", "&amp;", "&", "\x1b[31m", "\x1b", "1", "1 ", "12 34 ", "1.",
    "1.1.1.1 ", "+1 ", "0", "(0", "1-", "a-", "0a", "0a:", "::", ":", "ab12 ", "DE89 ", "eyJ", "eyJhbGciOi.",
    "abcdefgh.", "sk-", "ghp_", "é", "\u200b", "\u0665", "=40", "-p ", "docker ", "docker -p ", "agent:main:a:",
    "From: a", "Jan 1 00:00:00 ", "~a", "aaaa-", "$2b$", "key=", "key: ", "x=y&", "?key=", "name: A ", "Mr. A",
    "12 Main ", "52.5200, ", "@a1", "<@", "github.com/", "-home-", "arn:aws:", "\n", " ", "\t", '"', "'", "`", "{",
    "a_", "A_B", "password", "login ", "uid=1(", "rwxr-xr-x 1 ", "call ", "tel ", "AAAAAAA ", "0x", "ssn ", "key",
    "Digest a", "x-a-key", "bearer ", "aA1+/", "aB3_", "\\u0061", "\\x41", "\ud800", "a:1:b:c:", "x:", "19:", "+49 17",
    "555-", "1 2 3 4 5 6 7 8 ", "DE", "-----", "aé", "https://a.b/", "i-0", "{s", "1@", "a at b dot ", "a [at] b",
    "Linux a ", '\\"password\\": \\"a\\"', "a/b.git", ":a/", "secret: 'a", "4111 ", "0011.", "aa:",
    "a,password\n", "a|token|\n", "['token', 'a", "AUTH a\n", "user a 1:1", "echo a|",
    "a1b2-", "session_id: a",
]  # fmt: skip
SLOWEST = ['\\"password\\": \\"a\\"', "://a:b@", "1.1.1.1 ", "\\Users\\", "://a:", "52.5200, "]


def spent_s(unit: str, size: int) -> float:
    text = (unit * (size // len(unit) + 1))[:size]
    started = time.process_time()
    Finder().find(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_four_times_the_text_takes_about_four_times_as_long(unit: str) -> None:
    """Both bounds: what is quadratic takes 16 times as long; a floor of milliseconds is the clock's."""
    short = min(spent_s(unit, 8 * KIB) for _ in range(2))
    assert spent_s(unit, 32 * KIB) < 8 * short + 0.05


@pytest.mark.parametrize("unit", SLOWEST, ids=ascii)
def test_a_megabyte_of_the_worst_takes_seconds(unit: str) -> None:
    assert min(spent_s(unit, 1024 * KIB) for _ in range(2)) < LIMIT_S


def test_many_known_words_do_not_make_a_text_slow() -> None:
    """5,000 names and a text of 256 KiB: an alternation of all of them would try each at each word."""
    redactor = Redactor(bytes(32))
    for number in range(5_000):
        redactor.learn_word("user", f"person{number}x")
    text = "person4999x met nobody in particular today; " * 6_000
    started = time.process_time()

    shown = redactor.text(text)

    assert "person4999x" not in shown
    assert time.process_time() - started < 3.0
