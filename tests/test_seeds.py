"""One root seed, named streams."""

from __future__ import annotations

import uuid

from lockjaw.seeds import Seeds, uuid4


def test_the_same_seed_and_name_give_the_same_numbers() -> None:
    first, second = Seeds(7).child("data").stream("ids"), Seeds(7).child("data").stream("ids")

    assert [first.random() for _ in range(5)] == [second.random() for _ in range(5)]


def test_another_seed_name_or_path_gives_other_numbers() -> None:
    root = Seeds(7)
    streams = [root.stream("ids"), root.stream("jitter"), root.child("a").stream("ids"), Seeds(8).stream("ids")]

    assert len({stream.random() for stream in streams}) == len(streams)


def test_a_new_consumer_does_not_reshuffle_the_others() -> None:
    alone = Seeds(1).stream("a").random()
    root = Seeds(1)
    root.stream("b").random()
    root.child("c").stream("a").random()

    assert root.stream("a").random() == alone


def test_ids_from_a_stream_are_version_4_uuids() -> None:
    stream = Seeds(1).stream("ids")
    made = [uuid.UUID(uuid4(stream)) for _ in range(20)]

    assert {made_one.version for made_one in made} == {4}
    assert {made_one.variant for made_one in made} == {uuid.RFC_4122}
    assert len(set(made)) == 20
