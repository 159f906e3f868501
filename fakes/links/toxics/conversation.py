"""One connection through a link: two streams, each through its chain of toxics. Pure, like they are.

The driver puts in what arrived (never empty bytes), takes out what is ready, and comes back at ``next_deadline``. What
it takes has left the link for good; healing gives back only what still stands in a stage.
"""

from __future__ import annotations

import random

from .stage import DIRECTIONS, Direction, Item, Stage, Timed, Toxic, cost
from .trigger import Matcher, Triggered


class Stream:
    """One direction: stages in the order in which their toxics were added."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._arrived: list[Timed] = []
        self._ready: list[Timed] = []

    @property
    def untouched(self) -> bool:
        """No toxic and nothing waiting: what is put in would come out as it is."""
        return not self._stages and not self._ready and not self._arrived

    @property
    def held_bytes(self) -> int:
        waiting = sum(cost(item) for _, item in (*self._arrived, *self._ready))
        return waiting + sum(stage.held_bytes for stage in self._stages.values())

    def put(self, item: Item, at: float) -> None:
        self._arrived.append((at, item))

    def take(self, now: float) -> list[Item]:
        """What has come out of the last stage by now, in order."""
        self._advance(now)
        ready, self._ready = self._ready, []
        return [item for _, item in ready]

    def next_deadline(self) -> float | None:
        if self._arrived or self._ready:
            return min(at for at, _ in (*self._arrived, *self._ready))
        deadlines = [stage.next_deadline() for stage in self._stages.values()]
        return min((at for at in deadlines if at is not None), default=None)

    def add(self, name: str, stage: Stage, now: float) -> None:
        self._advance(now)  # the toxic does not apply to what arrived before it
        self._stages[name] = stage

    def replace(self, name: str, stage: Stage, now: float) -> None:
        """The toxic was changed: what it holds is treated anew, as if it had arrived now."""
        self._advance(now)
        held = self._stages[name].heal(now)
        self._stages[name] = stage
        for _, item in held:
            stage.put(item, now)
        self._advance(now)

    def remove(self, name: str, now: float) -> None:
        """The toxic is healed: what it holds flows on, before anything that arrives later."""
        self._advance(now)
        names = list(self._stages)
        held, behind = self._stages[name].heal(now), names[names.index(name) + 1 :]
        del self._stages[name]
        self._pass_through(held, behind, now)

    def stage(self, name: str) -> Stage:
        return self._stages[name]

    def __contains__(self, name: str) -> bool:
        return name in self._stages

    def _advance(self, now: float) -> None:
        arrived, self._arrived = self._arrived, []
        self._pass_through(arrived, list(self._stages), now)

    def _pass_through(self, items: list[Timed], names: list[str], now: float) -> None:
        for name in names:
            stage = self._stages[name]
            for at, item in items:
                stage.put(item, at)
            items = stage.take(now)
        self._ready.extend(items)


class Conversation:
    """Both directions of one connection."""

    def __init__(self) -> None:
        self.streams: dict[Direction, Stream] = {direction: Stream() for direction in DIRECTIONS}
        self._watchers: dict[Direction, dict[str, Triggered]] = {direction: {} for direction in DIRECTIONS}

    def add(self, toxic: Toxic, stream: random.Random, *, nth: int, now: float) -> None:
        """Apply a toxic, from now on, if the draw is against this connection.

        Args:
            stream: randomness of this connection and this toxic alone.
            nth: the connection is the nth since the toxic was added; 0: it was there before.
        """
        if (stage := self._stage(toxic, stream, nth, now)) is not None:
            self.streams[toxic.stream].add(toxic.label, stage, now)

    def change(self, toxic: Toxic, stream: random.Random, *, nth: int, now: float) -> None:
        """The toxic of this name has other values now; its stream is the same."""
        label = toxic.label
        if label not in self.streams[toxic.stream]:
            self.add(toxic, stream, nth=nth, now=now)
        else:
            self._unwatch(label)
            stage, old = self._stage(toxic, stream, nth, now), self.streams[toxic.stream].stage(label)
            if stage is None:
                self.heal(label, now=now)
            else:
                if isinstance(stage, Triggered) and isinstance(old, Triggered) and old.fired:
                    stage.fire(now)  # its cue has come already
                    self._unwatch(label)
                self.streams[toxic.stream].replace(label, stage, now)

    def heal(self, name: str, *, now: float) -> None:
        """Take a toxic away: what it held back flows on in order. No error if this connection was spared."""
        self._unwatch(name)
        for stream in self.streams.values():
            if name in stream:
                stream.remove(name, now)

    def untouched(self, direction: Direction) -> bool:
        """Bytes of this direction may take the short way past us."""
        return self.streams[direction].untouched and not self._watchers[direction]

    def put(self, direction: Direction, item: Item, now: float) -> None:
        if isinstance(item, bytes):
            for watcher in list(self._watchers[direction].values()):
                if watcher.matcher.feed(item) is not None:
                    watcher.fire(now)
                    self._unwatch_one(direction, watcher)
        self.streams[direction].put(item, now)

    def take(self, direction: Direction, now: float) -> list[Item]:
        return self.streams[direction].take(now)

    def next_deadline(self) -> float | None:
        deadlines = [stream.next_deadline() for stream in self.streams.values()]
        return min((at for at in deadlines if at is not None), default=None)

    def held_bytes(self, direction: Direction) -> int:
        return self.streams[direction].held_bytes

    def _stage(self, toxic: Toxic, stream: random.Random, nth: int, now: float) -> Stage | None:
        if stream.random() >= toxic.toxicity:
            return None
        stage = toxic.stage(stream, nth)
        if toxic.trigger is None:
            stage.begin(now)
            return stage
        watched = toxic.trigger_stream or toxic.stream
        matcher = Matcher(toxic.trigger.encode(), toxic.trigger_nth)
        waiting = Triggered(stage, matcher, own=watched == toxic.stream)
        if not waiting.own:
            self._watchers[watched][toxic.label] = waiting
        return waiting

    def _unwatch(self, name: str) -> None:
        for watchers in self._watchers.values():
            watchers.pop(name, None)

    def _unwatch_one(self, direction: Direction, watcher: Triggered) -> None:
        watchers = self._watchers[direction]
        for name in [name for name, one in watchers.items() if one is watcher]:
            del watchers[name]
