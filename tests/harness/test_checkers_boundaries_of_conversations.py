"""Where the laws of conversations, tools and databases begin and end: on the limit, one beside it, what is counted."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.harness.judge.checkers import ScenarioFacts
from lockjaw.harness.judge.checkers.examples import FOLDER, KEY, PATH, SESSION
from lockjaw.verdict import CheckResult, Verdict
from tests.harness.told import END, H, Told, U, V, asks, judge, result, story


def ran(t: float, actor: str, run_id: str, *, name: str = "t", resumed: bool = False) -> list[Told]:
    """An execution that asked a model and failed."""
    return [
        (t, actor, "turn invoke", {"turn_id": name, "run_id": run_id, "resumed": resumed}),
        (t, actor, "model.call invoke", {"call_id": run_id, "run_id": run_id}),
        (t, actor, "model.call ok", {"call_id": run_id}),
    ]


def tool(t: float, actor: str, run_id: str, call_id: str, **data: Any) -> list[Told]:
    call = {"run_id": run_id, "tool_call_id": call_id}
    return [(t, actor, "tool invoke", call | data), (t, actor, "tool ok", call)]


class TestExecutedOnce:
    NAME = "executed_once"

    @pytest.mark.parametrize(("count", "allowed", "verdict"), [
        (1, {}, U), (2, {}, V), (2, {"k": 2}, U), (3, {"k": 2}, V), (1, {"k": 0}, V), (0, {"k": 0}, U),
        (None, {"k": 0}, U), (2, {"j": 9, "l": 9}, V),
    ])  # fmt: skip
    def test_an_effect_may_be_found_once_or_as_often_as_is_named(
        self, count: int | None, allowed: dict[str, int], verdict: Verdict
    ) -> None:
        history = story(
            (1.0, "h", "ledger", {"key": "a", "count": 1}), (1.0, "h", "ledger", {"key": "k", "count": count})
        )
        found = judge(self.NAME, history, ScenarioFacts(ledger=allowed))

        assert (found.verdict, found.witness) == (verdict, (1,) if verdict is V else ())
        if verdict is V:
            assert found.finding == f"the effect 'k' happened {count} times; allowed: {allowed.get('k', 1)}"

    def test_who_ran_the_turn_at_the_same_time(self) -> None:
        told = [*ran(1.0, "b", "r1")[:2], *ran(2.0, "a", "r2", resumed=True)]
        found = judge(self.NAME, story(*told))
        assert (found.verdict, found.witness) == (V, (1, 3))
        assert found.finding == "b and a both executed the turn at the same time"

    def test_the_first_and_the_second_beginning_are_shown(self) -> None:
        told = [*ran(1.0, "c", "r0", name="other"), *ran(2.0, "b", "r1"), *ran(3.0, "a", "r2")]
        found = judge(self.NAME, story(*told))
        assert (found.verdict, found.witness) == (V, (4, 6, 7))
        assert found.finding == "a started the turn again although b had already worked on it"

    def test_a_third_execution_is_compared_with_each_before_it(self) -> None:
        begun = [*ran(1.0, "a", "r1"), (1.5, "a", "turn fail", {"turn_id": "t", "run_id": "r1"})]
        told = [*begun, *ran(2.0, "b", "r2", resumed=True), *ran(3.0, "c", "r3")]
        assert judge(self.NAME, story(*told)).witness == (1, 7, 8)
        assert judge(self.NAME, story(*told[:-3], *ran(3.0, "c", "r3", resumed=True))).verdict is H

    def test_continued_and_whole_are_two_ways_to_hold(self) -> None:
        continued = [*ran(1.0, "a", "r1"), *ran(2.0, "b", "r2", resumed=True)]
        assert judge(self.NAME, story(*continued)).finding == "the turn was continued, not run again"
        trouble: Told = (3.0, "client", "client.call fail", {"method": "agent"})
        assert judge(self.NAME, story(*ran(1.0, "a", "r1"), trouble)).finding == "the turn ran once"
        assert judge(self.NAME, story(*ran(1.0, "a", "r1"), *ran(2.0, "b", "r2", name="u"))).verdict is U

    @pytest.mark.parametrize(("first", "second", "verdict"), [
        ({"key": "k"}, {"key": "k"}, V), ({"key": "k"}, {"key": "j"}, H), ({"key": "k"}, {"key": "l"}, H),
        ({"key": "k"}, {"key": "k", "harmless": True}, H), ({"key": "k", "harmless": True}, {"key": "k"}, H),
        ({"key": "k", "name": "x"}, {"key": "k", "name": "y"}, H), ({}, {}, H),
    ])  # fmt: skip
    def test_a_tool_call_runs_in_one_execution(
        self, first: dict[str, Any], second: dict[str, Any], verdict: Verdict
    ) -> None:
        told = [
            *ran(1.0, "a", "r1"), *tool(1.5, "a", "r1", "c0", key="q", harmless=True),
            *tool(1.6, "a", "r1", "c1", **first),
            *ran(2.0, "b", "r2", resumed=True), *tool(2.5, "b", "r2", "c0", key="q", harmless=True),
            *tool(2.6, "b", "r2", "c2", **second),
        ]  # fmt: skip
        found = judge(self.NAME, story(*told))

        assert (found.verdict, found.witness) == (verdict, (5, 12) if verdict is V else ())
        if verdict is V:
            assert found.finding == "the tool call ? (k) ran twice: by a and again by b"

    def test_one_execution_may_call_a_tool_twice_and_a_call_is_known_by_its_id_where_it_has_no_key(self) -> None:
        first = [*ran(1.0, "a", "r1"), *tool(1.5, "a", "r1", "c1", key="k"), *tool(1.6, "a", "r1", "c2", key="k")]
        assert judge(self.NAME, story(*first)).verdict is U
        same = [*ran(1.0, "a", "r1"), *tool(1.5, "a", "r1", "c1"), *ran(2.0, "b", "r2", resumed=True)]
        assert judge(self.NAME, story(*same, *tool(2.5, "b", "r2", "c1"))).verdict is V
        assert judge(self.NAME, story(*same, *tool(2.5, "b", "r2", "c2"))).verdict is H

    @pytest.mark.parametrize(("second_s", "asks_too", "verdict"), [
        (2.0, ["LJ-1"], V), (2.0, ["LJ-2"], U), (3.0, ["LJ-1"], U), (4.0, ["LJ-1"], U), (2.0, None, V),
    ])  # fmt: skip
    def test_requests_of_one_question_do_not_overlap(
        self, second_s: float, asks_too: list[str] | None, verdict: Verdict
    ) -> None:
        requests: list[Told] = [
            (1.0, "models", "provider.request invoke", {"request_id": "1", "asks": ["LJ-1"]}),
            (3.0, "models", "provider.request ok", {"request_id": "1"}),
            (second_s, "models", "provider.request invoke",
             {"request_id": "2"} | ({} if asks_too is None else {"asks": asks_too})),
        ]  # fmt: skip
        told = sorted(requests, key=lambda one: one[0])
        assert judge(self.NAME, story(*told)).verdict is verdict
        assert judge(self.NAME, story((0.0, "a", "turn invoke", {"run_id": "r"}), *told)).verdict is U
        trouble: Told = (9.0, "client", "client.call fail", {"method": "agent"})
        assert judge(self.NAME, story(*told, trouble)).verdict is (V if verdict is V else H)


class TestReadsAreTrue:
    NAME = "reads_are_true"

    @pytest.mark.parametrize(("entries", "verdict"), [(2, V), (3, H), (4, H), (0, V), (None, V)])
    def test_a_reader_sees_all_that_stood_there_when_it_began(self, entries: int | None, verdict: Verdict) -> None:
        lines: list[Told] = [(1.0, "a", "append", {"path": PATH})] * 2
        other: list[Told] = [(1.0, "a", "append", {"path": f"{FOLDER}/{one}.jsonl"}) for one in "0x"]
        found = judge(self.NAME, story(
            (0.0, "h", "stage", {"path": PATH, "entries": 1}), (0.0, "h", "stage", {"path": PATH}), *lines, *other,
            (2.0, "r", "read invoke", {"path": PATH}), (2.5, "a", "append", {"path": PATH}),
            (3.0, "r", "read ok", {"path": PATH, "entries": entries}),
        ))  # fmt: skip

        assert (found.verdict, found.witness) == (verdict, (6, 8) if verdict is V else ())
        if verdict is V:
            assert found.finding == f"r reported success with {entries or 0} entries; 3 were there when the read began"

    @pytest.mark.parametrize(("count", "words"), [(1, "1 read saw every entry"), (2, "2 reads saw every entry")])
    def test_reads_that_had_something_to_see_are_counted(self, count: int, words: str) -> None:
        def read(t: float, phase: str, entries: int) -> list[Told]:
            return [
                (t, "r", "read invoke", {"path": PATH}),
                (t, "r", f"read {phase}", {"path": PATH, "entries": entries}),
            ]

        told = [*read(0.0, "ok", 0), (1.0, "a", "append", {"path": PATH}), *read(2.0, "fail", 0)]
        assert judge(self.NAME, story(*told)).verdict is U
        for n in range(count):
            told += read(3.0 + n, "ok", 1)
        found = judge(self.NAME, story(*told, (9.0, "r", "read invoke", {"path": PATH})))
        assert (found.verdict, found.finding) == (H, words)


def accepted(t: float, run_id: str = "run-of-client", **data: Any) -> Told:
    return t, "gateway", "gateway.accepted", {"run_id": run_id, "session_key": KEY, "session_id": SESSION, **data}


def final(session_id: str = SESSION, **data: Any) -> Told:
    told = {"path": f"{FOLDER}/{session_id}.jsonl", "session_id": session_id, "user_messages": ["hi"],
            "assistant_texts": ["done"], "lines": 9}  # fmt: skip
    return 90.0, "harness", "transcript.final", told | data


def leads(key: str, session_id: str) -> Told:
    return 90.0, "harness", "session.final", {"key": key, "session_id": session_id}


class TestSameConversation:
    NAME = "same_conversation"
    FACTS = ScenarioFacts(message="hi")

    def of(self, *told: Told, ids: str = SESSION, key: str = KEY, **data: Any) -> tuple[Verdict, tuple[int, ...]]:
        """Asked at record 0, accepted at 1, answered at 2; then what is told."""
        answer = result(5.0, session_id=ids, session_key=key, **data)
        found = judge(self.NAME, story(asks(0.0, session_key=KEY), accepted(1.0), answer, *told), self.FACTS)
        return found.verdict, found.witness

    def test_the_key_in_which_the_user_asked(self) -> None:
        assert self.of(final()) == (H, ())
        for key in ("agent:main:a", "agent:main:z"):
            assert self.of(final(), key=key) == (V, (0, 2))

    @pytest.mark.parametrize("what", ["a.wait invoke", "z.wait invoke", "client.call ok", "client.call fail"])
    def test_what_is_no_call_of_the_client_asks_nothing(self, what: str) -> None:
        before: Told = (0.0, "client", what, {"method": "agent", "session_key": "elsewhere"})
        told = (before, asks(0.0, session_key=KEY), accepted(1.0), result(5.0, session_id=SESSION, session_key=KEY))
        assert judge(self.NAME, story(*told, final()), self.FACTS).verdict is H

    def test_the_session_to_which_the_key_leads(self) -> None:
        """A rotation moved the conversation on: the answer stands in the new session, and is no stray."""
        assert self.of(leads(KEY, "new"), final("new"), ids="new") == (H, ())
        assert self.of(leads(KEY, "new"), final()) == (V, (2, 4))
        assert self.of(leads(KEY, "new"), final(), END) == (V, (2, 5))
        assert self.of(leads("other", "new"), final()) == (H, ())
        assert self.of(leads("zzz", "new"), final()) == (H, ())
        assert self.of(final("new"), ids="new") == (V, (1, 2))
        assert self.of(leads(KEY, "a"), leads(KEY, SESSION), final()) == (V, (2, 5))

    def test_a_fork_carries_every_message_on(self) -> None:
        def forked(*more: Told, actor: str = "client", step: str = "fork", new: Any = ("hi",)) -> Verdict:
            fork: Told = (4.0, actor, "fallback", {"step": step})
            answer = result(5.0, session_id="new", session_key=KEY)
            told = (
                asks(0.0, session_key=KEY),
                accepted(1.0),
                fork,
                answer,
                *more,
                final("new", user_messages=list(new)),
            )
            return next(iter([judge(self.NAME, story(*told), self.FACTS).verdict]))

        assert forked(final(user_messages=["hi"])) is H
        assert forked(final(user_messages=["hi", "old"]), new=("hi", "old", "x")) is H
        assert forked(final(user_messages=["hi", "old"])) is V
        assert forked(final(user_messages=["hi"]), step="forj") is V
        assert forked(final(user_messages=["hi"]), step="forl") is V
        assert forked() is V  # the one that was asked was not read

    def test_a_fork_of_another_client_is_not_this_ones(self) -> None:
        for actor in ("a", "z"):
            told = (asks(0.0, session_key=KEY), accepted(1.0), (4.0, actor, "fallback", {"step": "fork"}),
                    result(5.0, session_id="new", session_key=KEY), final(), final("new"))  # fmt: skip
            assert judge(self.NAME, story(*told), self.FACTS).verdict is V

    @pytest.mark.parametrize(("data", "witness"), [
        ({"user_messages": ["ho"]}, (2, 3)), ({"user_messages": None}, (2, 3)), ({"assistant_texts": ["no"]}, (2, 3)),
        ({"user_messages": ["x", "well, hi!"], "assistant_texts": ["a", "it is done."]}, ()),
    ])  # fmt: skip
    def test_message_and_answer_stand_in_it(self, data: dict[str, Any], witness: tuple[int, ...]) -> None:
        assert self.of(final(**data)) == (V if witness else H, witness)

    @pytest.mark.parametrize(("roles", "verdict", "witness"), [
        ("ua", H, ()), ("au", V, (3, 4)), ("aua", H, ()), ("auu", V, (3, 4)), ("aau", V, (4, 5)), ("a", H, ()),
        ("u", U, (5,)), ("", U, (5,)), ("x", U, (5,)),
    ])  # fmt: skip
    def test_the_answer_comes_after_some_message(self, roles: str, verdict: Verdict, witness: tuple[int, ...]) -> None:
        names = {"u": "user", "a": "assistant", "x": "tool"}
        told = [asks(0.0), (1.0, "h", "read", {"path": PATH, "role": "assistant"}), accepted(1.0)]
        told += [(2.0, "gateway", "append", {"path": PATH, "role": names[one]}) for one in roles]
        told += [(2.0, "gateway", "append", {"path": f"{FOLDER}/x.jsonl", "role": "assistant"})] * (2 - len(roles[:2]))
        history = story(*told, result(5.0, session_id=SESSION))
        at = len(history) - 1
        found = judge(self.NAME, history, self.FACTS)
        assert (found.verdict, found.witness) == (verdict, (at,) if verdict is U else witness)

    @pytest.mark.parametrize("other", [f"{SESSION}0", f"0{SESSION}", f"fork-{SESSION}", f"{SESSION}.x", SESSION[:-1]])
    @pytest.mark.parametrize("suffix", [".jsonl", ".sqlite"])
    @pytest.mark.parametrize("seen", [True, False])
    def test_a_message_of_a_session_whose_id_contains_this_one_is_not_this_ones(
        self, other: str, suffix: str, seen: bool
    ) -> None:
        ours, others = (f"{FOLDER}/{one}{suffix}" for one in (SESSION, other))
        told = [asks(0.0), accepted(1.0)]
        told += [(2.0, "gateway", "append", {"path": others, "role": "user"})]
        told += [(2.0, "gateway", "append", {"path": ours, "role": role}) for role in ("assistant", "user")]
        told += [result(5.0, session_id=SESSION)] + [final(path=ours)] * seen
        found = judge(self.NAME, story(*told), self.FACTS)
        assert (found.verdict, found.witness) == (V, (3, 4))

    def test_of_two_clients_the_one_whose_answer_is_elsewhere_is_named(self) -> None:
        for bad in "ab":
            told = [asks(0.0, one, session_key=f"k{one}") for one in "ab"]
            told += [accepted(1.0, f"run-of-{one}", session_key=f"k{one}", session_id=f"s{one}") for one in "ab"]
            told += [
                result(5.0, one, session_key=f"k{one}" if one != bad else "kz", session_id=f"s{one}") for one in "ab"
            ]
            found = judge(self.NAME, story(*told, final("sa"), final("sb")), self.FACTS)
            n = "ab".index(bad)
            assert (found.verdict, found.witness) == (V, (n, 4 + n))
            assert found.finding == f"{bad}: the user asked in k{bad}, and the answer is in kz"

    def test_a_client_that_is_alone_is_not_named(self) -> None:
        history = story(asks(0.0, session_key="k"), result(5.0, session_key="kz"))
        assert judge(self.NAME, history).finding == "the user asked in k, and the answer is in kz"

    def test_an_answer_without_a_session_stands_in_the_one_that_accepted_it(self) -> None:
        assert self.of(final(), ids="") == (H, ())
        assert self.of(final(user_messages=[]), ids="") == (V, (2, 3))
        assert self.of(final("other"), ids="") == (U, (2,))

    @pytest.mark.parametrize(("method", "verdict"), [("agent", V), ("chat.send", V), ("", V), ("status", H), ("b", H)])
    def test_which_calls_carry_the_turn(self, method: str, verdict: Verdict) -> None:
        told = [asks(0.0, method=method, session_key="k1"), result(5.0, session_key="k2", session_id=SESSION), final()]
        assert judge(self.NAME, story(*told), self.FACTS).verdict is verdict


class TestStoreDelaysNoOther:
    NAME = "store_delays_no_other"
    FACTS = ScenarioFacts(bystander_s=20.0)
    FILE = f"{FOLDER}/{SESSION}.sqlite"

    def of(
        self, *told: Told, asked_s: float = 10.0, answer_s: float | None = 15.0, free_s: float | None = 62.0,
        of: str = "session", key: str = "k", **data: Any,
    ) -> CheckResult:  # fmt: skip
        told += ((2.0, "m", "database ok", {"path": self.FILE, "of": of}), asks(asked_s, "n", session_key=key))
        if answer_s is not None:
            told += (result(answer_s, "n", **{"session_id": "other", **data}),)
        if free_s is not None:
            told += ((free_s, "m", "database", {"path": self.FILE, "of": of}),)
        return judge(self.NAME, story(*sorted(told, key=lambda one: one[0]), END), self.FACTS)

    @pytest.mark.parametrize(("waited_s", "held_up_s", "verdict"), [
        (20.0, 0.0, H), (20.25, 0.0, V), (20.25, 0.25, H), (20.5, 0.25, V), (3.0, 0.0, H),
    ])  # fmt: skip
    def test_the_bound_itself_is_allowed(self, waited_s: float, held_up_s: float, verdict: Verdict) -> None:
        held = (12.0, "h", "held_up", {"for_s": held_up_s})
        found = self.of(held, answer_s=10.0 + waited_s)
        assert found.verdict is verdict
        said = f"n waited {waited_s - held_up_s:.1f} s while" if verdict is V else "waited longer than 20 s"
        assert said in found.finding
        assert found.witness == ((0, 1) if verdict is V else ())

    @pytest.mark.parametrize(("asked_s", "free_s", "verdict"), [
        (2.0, 22.0, H), (2.0, 22.5, V), (1.0, 90.0, U), (62.0, 62.0, U), (61.0, 62.0, H), (10.0, None, V),
        (10.0, 30.0, H), (10.0, 30.5, V),
    ])  # fmt: skip
    def test_only_who_asks_while_it_is_held_waits_for_it(
        self, asked_s: float, free_s: float | None, verdict: Verdict
    ) -> None:
        assert self.of(asked_s=asked_s, free_s=free_s, answer_s=None).verdict is verdict

    @pytest.mark.parametrize(("answer_s", "verdict"), [(61.0, V), (62.0, H), (63.0, H)])
    def test_who_ends_without_an_answer_meanwhile_was_turned_away(self, answer_s: float, verdict: Verdict) -> None:
        found = self.of(asked_s=45.0, answer_s=answer_s, answered=False)
        assert (found.verdict, found.witness) == (verdict, (0, 2) if verdict is V else ())
        assert self.of(asked_s=45.0, answer_s=answer_s).verdict is H

    @pytest.mark.parametrize("data", [
        {"session_id": SESSION}, {"session_id": "", "told": accepted(11.0, session_key="k")},
        {"session_id": "", "told": leads("k", SESSION)},
    ])  # fmt: skip
    def test_who_needs_the_held_database_waits_for_its_own(self, data: dict[str, Any]) -> None:
        told = [data.pop("told")] if "told" in data else []
        assert self.of(*told, answer_s=60.0, **data).verdict is U

    @pytest.mark.parametrize("told", [
        accepted(11.0, session_key="j"), accepted(11.0, session_key="l"), leads("j", SESSION), leads("l", SESSION),
        (11.0, "gateway", "lane.wait", {"session_key": "k", "session_id": SESSION}), leads("k", "a"),
        (11.0, "x", "client.call invoke", {"session_key": "j"}),
        (11.0, "a", "client.call invoke", {"session_key": "j"}),
    ])  # fmt: skip
    def test_what_others_need_is_no_excuse(self, told: Told) -> None:
        assert self.of(told, leads("j", SESSION), answer_s=60.0).verdict is V

    def test_the_key_is_the_one_that_was_asked_and_not_the_one_of_the_result(self) -> None:
        assert self.of(leads("j", SESSION), answer_s=60.0, session_key="j").verdict is V

    @pytest.mark.parametrize("of", ["list", "sessiom", "sessioo"])
    def test_a_database_of_no_single_session_is_not_meant(self, of: str) -> None:
        assert self.of(of=of, answer_s=60.0).verdict is U

    @pytest.mark.parametrize("phase", ["invoke", "fail", "info"])
    def test_a_database_that_was_wanted_and_not_had_is_not_held(self, phase: str) -> None:
        wanted: Told = (2.0, "m", f"database {phase}", {"path": self.FILE, "of": "session"})
        assert judge(self.NAME, story(wanted, asks(3.0), END), self.FACTS).verdict is U

    def test_a_holder_that_ends_lets_go(self) -> None:
        assert self.of((12.0, "m", "actor.exit", {}), answer_s=60.0).verdict is H
        for actor in ("a", "z"):
            assert self.of((12.0, actor, "actor.exit", {}), answer_s=60.0).verdict is V
            assert self.of((12.0, actor, "database", {"path": self.FILE}), answer_s=60.0).verdict is V
        assert self.of((12.0, "m", "database ok", {"path": self.FILE, "of": "list"}), answer_s=60.0).verdict is V
        assert self.of((12.0, "m", "tool", {}), answer_s=60.0).verdict is V

    def test_the_last_result_and_a_bound_count(self) -> None:
        assert self.of(result(12.0, "n", session_id="other"), answer_s=60.0).verdict is V
        assert judge(self.NAME, story(asks(0.0)), ScenarioFacts()).verdict is U


class TestTranscriptWhole:
    NAME = "transcript_whole"
    FACTS = ScenarioFacts(message="hi")

    @pytest.mark.parametrize(("count", "words"), [(1, "1 transcript is whole"), (2, "2 transcripts are whole")])
    def test_transcripts_are_counted(self, count: int, words: str) -> None:
        assert judge(self.NAME, story(*(final(f"s{n}") for n in range(count)))).finding == words

    def test_the_first_problem_of_the_first_damaged_one_is_told(self) -> None:
        found = judge(self.NAME, story(final(), final("b", problems=["x", "y"]), final("c", problems=["z"])))
        assert (found.finding, found.witness) == ("b.jsonl is damaged: x", (1, 2))
        assert judge(self.NAME, story(final(problems="torn"))).finding == f"{SESSION}.jsonl is damaged: torn"

    @pytest.mark.parametrize(("path", "session_id", "name"), [
        ("/x/a.jsonl", "s", "a.jsonl"), ("", "s", "s"), (None, None, "a transcript"), (None, "s", "s"),
    ])  # fmt: skip
    def test_how_a_transcript_is_named(self, path: str | None, session_id: str | None, name: str) -> None:
        told = final(path=path, session_id=session_id, problems=["p"])
        assert judge(self.NAME, story(told)).finding == f"{name} is damaged: p"

    def append(self, entry_id: str | None, path: str = PATH) -> Told:
        return 5.0, "a", "append", {"path": path, "entry_id": entry_id}

    @pytest.mark.parametrize(("lines", "ids", "words", "witness"), [
        (2, ["e1", "e2"], None, ()), (3, ["e0", "e1", "e2"], None, ()), (2, None, None, ()),
        (None, None, "0 lines", (2, 3)),
        (1, None, "has 1 lines although 2 entries were written to it", (2, 3)),
        (1, ["e1", "e2"], "has 1 lines although 2 entries", (2, 3)),
        (9, ["e1"], "lacks 1 entry that had been written to it", (2, 3)),
        (9, [], "lacks 2 entries that had been written to it", (1, 2, 3)),
        (9, ["e2"], "lacks 1 entry", (1, 3)),
    ])  # fmt: skip
    def test_what_was_written_is_there(
        self, lines: int | None, ids: list[str] | None, words: str | None, witness: tuple[int, ...]
    ) -> None:
        told = [(4.0, "a", "read", {"path": PATH, "entry_id": "e9"}), self.append("e1"), self.append("e2")]
        found = judge(self.NAME, story(*told, final(lines=lines, entry_ids=ids)))
        assert (found.verdict, found.witness) == (V if words else H, witness)
        assert (words or "is whole") in found.finding

    def test_entries_without_an_id_are_several_and_an_id_written_twice_is_one(self) -> None:
        assert judge(self.NAME, story(self.append(None), self.append(None), final(lines=1))).verdict is V
        assert judge(self.NAME, story(self.append("e"), self.append("e"), final(lines=1))).verdict is H

    def test_a_transcript_that_is_gone_is_shown_by_its_last_entry(self) -> None:
        told = [self.append("e1"), self.append("e2"), self.append("e3", f"{FOLDER}/x.jsonl"), final("x")]
        found = judge(self.NAME, story(*told))
        assert (found.finding, found.witness) == (f"{SESSION}.jsonl was written, and is gone", (1,))

    def missing(self, *told: Told, run_id: str = "r1", **data: Any) -> tuple[Verdict, tuple[int, ...]]:
        took = (asks(0.0, run_id=run_id), accepted(0.5, "r1", **data), *ran(1.0, "gateway", "r1"))
        found = judge(self.NAME, story(*took, *told), self.FACTS)
        return found.verdict, found.witness

    def test_the_message_stands_where_it_was_accepted_or_where_the_key_leads(self) -> None:
        assert self.missing(final()) == (H, ())
        assert self.missing(final(user_messages=["ho"])) == (V, (1,))
        assert self.missing(final(user_messages=["ho", "so: hi"])) == (H, ())
        assert self.missing(final(user_messages=["ho"]), final("new")) == (V, (1,))
        assert self.missing(final(user_messages=["ho"]), final("0")) == (V, (1,))
        assert self.missing(final(user_messages=["ho"]), final("new"), leads(KEY, "new")) == (H, ())
        for key in ("a", "z"):
            assert self.missing(final(user_messages=["ho"]), final("new"), leads(key, "new")) == (V, (1,))
        for kind in ("a.note", "z.note"):
            noted: Told = (90.0, "harness", kind, {"key": KEY, "session_id": "new"})
            assert self.missing(final(user_messages=["ho"]), final("new"), noted) == (V, (1,))
        for unnamed in (None, ""):
            assert self.missing(final("new"), session_id=unnamed) == (H, ())

    def test_the_message_is_that_of_the_client_that_called(self) -> None:
        for other in ("a", "gateway", "z"):
            facts = ScenarioFacts(message="hi", messages={other: "else"})
            told = (asks(0.0, run_id="r1"), accepted(0.5, "r1"), *ran(1.0, "gateway", "r1"), final())
            assert judge(self.NAME, story(*told), facts).verdict is H
            assert judge(self.NAME, story(*told), ScenarioFacts(message="else", messages={"client": "hi"})).verdict is H
            for what in ("client.call ok", "claim invoke", "turn invoke"):
                done: Told = (3.0, other, what, {"run_id": "r1", "method": "agent"})
                assert judge(self.NAME, story(*told[:-1], done, told[-1]), facts).verdict is H

    def test_a_run_that_did_nothing_or_has_no_message_may_lack_it(self) -> None:
        bare = final(user_messages=[])
        assert judge(self.NAME, story(asks(0.0), accepted(0.5), bare), self.FACTS).verdict is H
        took = (accepted(0.5, "r1"), *ran(1.0, "gateway", "r1"), bare)
        assert judge(self.NAME, story(*took), ScenarioFacts()).verdict is H
        assert judge(self.NAME, story(*took), self.FACTS).verdict is V
        first = (accepted(0.2, "r0"), *took)
        assert judge(self.NAME, story(*first), self.FACTS).witness == (1,)
