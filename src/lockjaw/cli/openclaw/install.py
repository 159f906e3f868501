"""``lockjaw openclaw install``: fill the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.openclaw.campaigns import say
from lockjaw.cli.options import CacheFolder
from lockjaw.harness.targets.openclaw.cache import Cache
from lockjaw.harness.targets.openclaw.versions import PACKAGE, parse_version
from lockjaw.visible import show

__all__ = ["install"]


def install(versions: Annotated[list[str], typer.Argument(help="Such as 2026.4.8.")], cache: CacheFolder = None) -> int:
    """Install versions into the cache (600 MB and about a minute each)."""
    for name in versions:
        found = Cache(cache, say).get(parse_version(name))
        show(f"{PACKAGE}@{found.version}  {found.integrity}", f"  {found.package}", f"  {found.node}")
    return 0
