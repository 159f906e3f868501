"""``lockjaw target list`` and ``lockjaw target check``."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from lockjaw.cli.options import CacheFolder, JsonFlag, print_json
from lockjaw.harness.incident.actors import Scripted
from lockjaw.harness.incident.scenario import builtin_names, load_scenario
from lockjaw.harness.targets.installing import find_installed, missing_needs
from lockjaw.harness.targets.namespace import Namespace, NoNamespace
from lockjaw.harness.targets.registry import Choice, choose, names
from lockjaw.harness.targets.store import Store
from lockjaw.visible import columns, show, show_wrapped

__all__ = ["check", "list_targets"]


def list_targets(as_json: JsonFlag = False) -> None:
    """List the runtimes that can be played by name, with the versions that were seen to run."""
    specs = [choose(name).spec for name in names()]
    if as_json:
        rows = [{"name": s.name, "version": s.version, "licence": s.licence, "tested": list(s.tested)} for s in specs]
        print_json("target list", {"targets": rows})
        return
    for spec in specs:
        line = f"{spec.name:10}  {spec.version:10}  {spec.licence:12}  {', '.join(spec.tested)}"
        show(*textwrap.wrap(line, columns(), subsequent_indent=" " * 4, break_on_hyphens=False))
    show(
        "openclaw    see `lockjaw openclaw --help`",
        "./FILE.toml a runtime of your own",
    )


def check(
    target: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, or the file of a runtime (./mine.toml).")],
    cache: CacheFolder = None,
    as_json: JsonFlag = False,
) -> int:
    """Say what works for a runtime, what cannot be seen of it, and which scenarios apply. Installs and runs nothing.

    Exit status: 0 it can be played here, 2 the file is wrong, 4 something is missing on this machine.
    """
    choice = choose(target)
    found = _facts(choice, Store(cache))
    if as_json:
        print_json("target check", found)
    else:
        _tell(found)
    return 4 if found["missing"] else 0


def _facts(choice: Choice, store: Store) -> dict[str, Any]:
    spec = choice.spec
    missing = [f"{name} is not on PATH" for name in missing_needs(spec)]
    try:
        Namespace().close()
    except NoNamespace as error:
        missing.append(f"no network namespace here: {error.reason} (--allow-network goes without)")
    unseen = dict(spec.cannot)
    if not spec.holder.visible:
        unseen.setdefault("no_lock_left", "its locks cannot be seen from outside")
    scenarios = {name: _fits(choice, name) for name in builtin_names() if load_scenario(name).outside is not None}
    return {
        "target": choice.name, "licence": spec.licence, "file": str(choice.path),
        "installed": find_installed(spec, choice.version, store) is not None,
        "size_mb": spec.install.size_mb, "missing": missing, "cannot": unseen, "scenarios": scenarios,
    }  # fmt: skip


def _fits(choice: Choice, name: str) -> str:
    """Why the scenario does not apply; empty: it does."""
    outside = load_scenario(name).outside
    assert outside is not None
    if outside.effect is not None and choice.spec.tool is None:
        return "the file names no tool, and the scenario needs one with an effect"
    if any(isinstance(actor, Scripted) for actor in load_scenario(name).cast.values()) and not choice.spec.store.held:
        return "the file names nothing of its store that can be held (key store)"
    if outside.then == "own" and not choice.spec.client.own:
        return "the file has no client.own, so the user would only give up"
    return ""


def _tell(found: dict[str, Any]) -> None:
    state = "installed" if found["installed"] else f"not installed yet ({found['size_mb']} MB)"
    show(f"{found['target']} ({found['licence']}): {state}", f"file: {found['file']}")
    for line in found["missing"]:
        show_wrapped(f"missing: {line}")
    for law, why in found["cannot"].items():
        show_wrapped(f"cannot be judged: {law}: {why}")
    for name, why in found["scenarios"].items():
        show_wrapped(f"scenario {name}: {why or 'applies'}")
