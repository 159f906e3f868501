"""Guards that rest between two turns: who gets them, and who does not."""

import pytest

from lockjaw.locking.operations import Handle
from lockjaw.locking.resting import RestingGuards


class Store(RestingGuards):
    """A store whose clock and whose file system are the test's."""

    def __init__(self):
        self.now, self.closed, self.removed = 0.0, [], set()
        super().__init__(
            lambda guard: self.closed.append(guard.number),
            lambda guard: guard.number not in self.removed,
            lambda: self.now,
        )

    def opened_guard(self, number, path="q", body="b"):
        guard = Handle(path, number, body=Handle(body, number + 1000) if body else None)
        self.opened(guard)
        return guard

    def rest(self, guard):
        return self.keep(guard, lambda guard: True)


@pytest.fixture
def store():
    return Store()


def test_guard_that_rests_is_given_to_one_of_those_who_open_it(store):
    guard = store.opened_guard(1)
    assert store.rest(guard)
    assert guard.number == -1  # closed, for who had it
    given = [store.take("other", "b"), store.take("q", "b"), store.take("q", "b")]
    assert [one and one.number for one in given] == [None, 1, None]
    assert store.closed == []


def test_guard_whose_file_was_removed_is_closed_instead(store):
    for number in (1, 2):
        store.rest(store.opened_guard(number))
    store.removed.add(2)
    store.now = 0.2
    guard = store.take("q", "b")
    assert guard is not None
    assert (guard.number, store.closed) == (1, [2])


def test_guard_is_trusted_for_a_moment_after_each_look_and_no_longer(store):
    store.rest(store.opened_guard(1))
    store.now = 0.2
    guard = store.take("q", "b")  # has looked
    store.rest(guard)
    store.removed.add(1)
    store.now = 0.29
    guard = store.take("q", "b")
    assert guard.number == 1
    store.rest(guard)
    store.now = 0.31  # being used again and again is no look
    assert store.take("q", "b") is None
    assert store.closed == [1]


def test_guard_without_its_body_file_is_not_given_to_who_needs_one(store):
    store.rest(store.opened_guard(1, body=""))
    assert store.take("q", "b") is None
    store.rest(store.opened_guard(2, body=""))
    assert store.take("q", "").number == 2


def test_guard_that_keeps_its_locks_or_may_not_rest_does_not(store):
    guard = store.opened_guard(1)
    assert not store.keep(guard, lambda guard: False)
    guard.rests = False
    assert not store.rest(guard)
    assert store.take("q", "b") is None


def test_no_more_than_a_few_rest(store):
    assert [store.rest(store.opened_guard(n)) for n in range(5)] == [True] * 4 + [False]
    for n in range(5, 5 + 32):
        assert store.rest(store.opened_guard(n, path=f"q{n}"))
    assert store.closed == [3, 2, 1, 0, *range(5, 5 + 31)]  # all made room for the last one
    store.close_all()
    assert store.closed[-1] == 36
