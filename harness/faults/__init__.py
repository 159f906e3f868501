"""Faults: what is done to which actor or link, and when. One file per fault; a file in this folder is all it takes.

The folder is the list. A fault is named in its own file and in its test and nowhere else: what a scenario may say, the
reference and the reports come from the file (``docs/how-to/add-a-fault.md``). So the files are found by looking into
the folder. Those are the only imports of the harness, beside that of foreign runtimes (``targets.registry``), that do
not stand in the text, and they lead nowhere but into the folder itself.
"""

from __future__ import annotations

import pkgutil
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING

from .base import Fault, Point

__all__ = ["FAULTS", "AnyFault", "Fault", "Point"]


def _found() -> dict[str, type[Fault]]:
    """Every fault of this folder, by what it is called."""
    found: dict[str, type[Fault]] = {}
    for _, name, _ in pkgutil.iter_modules(__path__):
        for one in vars(import_module(f"{__name__}.{name}")).values():
            if isinstance(one, type) and issubclass(one, Fault) and one.__module__ == f"{__name__}.{name}":
                tag = one.__struct_config__.tag
                if isinstance(tag, str) and not tag[0].isupper():  # msgspec gives a struct without a tag its own name
                    assert tag not in found, f"{name}.py and {found[tag].__module__} both define the fault {tag}"
                    found[tag] = one
    return dict(sorted(found.items()))


FAULTS = _found()

if TYPE_CHECKING:
    AnyFault = Fault
else:
    AnyFault = reduce(or_, FAULTS.values())  # what a scenario may hold: a tagged union, as the actors' steps are
