"""Links of a scenario between real processes: TCP relays inside the harness, so that the nemesis has them at hand."""

from __future__ import annotations

import os

from lockjaw.clock import Clock

from ...fakes.links.link import Link
from ..incident.links import toxic_of
from ..incident.scenario import Scenario
from ..store import RunDirectory
from .rig import CONFIG


class Relays:
    """The relays of one run, by the names of their links; ``stop`` ends them all."""

    def __init__(self, scenario: Scenario, run: RunDirectory, clock: Clock, seed: int) -> None:
        self._scenario, self._run, self._clock, self._seed = scenario, run, clock, seed
        self.by_name: dict[str, Link] = {}

    async def lead_to(self, dialled: str, port: int) -> None:
        """Start the links that lead to an actor, which listens on this port (and does so again after a restart)."""
        for name, link in self._scenario.links.items():
            if link.between[1] != dialled:
                continue
            relay = Link(
                f"127.0.0.1:{port}", name=name, toxics=[toxic_of(data) for data in link.toxics], clock=self._clock,
                seed=self._seed, journal=self._run.logs / f"{name}.link.jsonl",
            )  # fmt: skip
            await relay.start()
            self.by_name[name] = relay

    def port(self, dialler: str, dialled: str, port: int) -> int:
        """The port that an actor dials to reach another: the link's if there is one, else its own."""
        name = self._scenario.link_of(dialler, dialled)
        return port if name is None else self.by_name[name].port

    def environment(self, dialler: str, model_port: int) -> dict[str, str]:
        """What leads an actor to the models over its link: a configuration of its own; empty without a link."""
        if self._scenario.link_of(dialler, "models") is None:
            return {}
        path = self._run.state / f"{dialler}.{CONFIG}"
        text = (self._run.state / CONFIG).read_text(encoding="utf-8")
        there, here = (f"http://127.0.0.1:{p}/" for p in (model_port, self.port(dialler, "models", model_port)))
        path.touch(mode=0o600)
        path.write_text(text.replace(there, here), encoding="utf-8")
        return {"OPENCLAW_CONFIG_PATH": os.fspath(path)}

    async def stop(self) -> None:
        for relay in self.by_name.values():
            await relay.stop()
