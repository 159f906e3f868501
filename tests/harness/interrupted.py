"""Runs a scenario with stand-ins in a process of its own, for tests that interrupt or kill the harness.

``interrupted.py OUT CLIENT_BEHAVIOUR GATEWAY_FAULT``; prints ``up`` once the client has made its call.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from lockjaw.documents import Document
from lockjaw.harness import run as run_module
from lockjaw.harness.incident.scenario import scenario_from
from lockjaw.history import Record


def shared() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shared", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared"] = module
    spec.loader.exec_module(module)
    return module


def main(out: str, client: str, fault: str) -> None:
    conftest = shared()
    faults = [{"action": fault, "target": "gateway", "at_s": 0}] if fault != "none" else []
    scenario = scenario_from(Document.of(conftest.SMALL | {"faults": faults}), name="small")
    awaited = "nemesis" if faults else "client.call"

    def progress(policy: str, record: Record) -> None:
        if record.op == awaited:
            print("up", flush=True)

    async def work() -> list[object]:
        world = conftest.stand_in_world(client_does=client, gateway_does="leaves_children")
        return [await run_module.run_async(scenario, out=out, world=world, progress=progress)]

    run_module.run_to_the_end(work())


if __name__ == "__main__":
    main(*sys.argv[1:])
