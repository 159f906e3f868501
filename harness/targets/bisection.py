"""The search for the version that changed a verdict, whatever program it is of. Knows no program: it is told how to
judge one version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lockjaw.errors import HarnessError
from lockjaw.verdict import Verdict

__all__ = ["Bisection", "Judged", "Skipped", "bisect"]


class Judged(Protocol):
    """What the runs of one version came to."""

    def verdict(self, check: str) -> Verdict | None:
        """HELD or VIOLATED; else the version says nothing of this law."""

    def why_unclear(self, check: str) -> str:
        """Why it says nothing."""


C = TypeVar("C", bound=Judged)


@dataclass(frozen=True)
class Skipped:
    """A version without a clear verdict, and why."""

    version: str
    why: str


@dataclass(frozen=True)
class Bisection(Generic[C]):
    """``first``: the first version with the verdict of the later end; ``before``: the last one known without it.

    ``skipped`` gave no clear verdict. Those between the two, ``in_doubt``, may be where it changed. ``cells``: all that
    were judged, in order of the versions.
    """

    program: str
    check: str
    was: Verdict
    now: Verdict
    before: str
    first: str
    skipped: tuple[Skipped, ...]
    in_doubt: tuple[str, ...]
    cells: tuple[C, ...]

    def sentence(self) -> str:
        doubt = f"; it may have changed in {', '.join(self.in_doubt)}, skipped" if self.in_doubt else ""
        return (
            f"{self.program} {self.first} is the first version where {self.check} is {self.now}; "
            f"{self.before} was {self.was}{doubt}"
        )


def bisect(
    program: str, versions: Sequence[str], check: str, judge: Callable[[str], C], say: Callable[[str], None]
) -> Bisection[C]:
    """Search the first version whose verdict of one check is that of the last of ``versions``, not of the first.

    Verdicts are assumed to change once. A version without a clear verdict is judged once more. One that then still has
    none, or that cannot be run, is skipped, as ``git bisect skip`` does.

    Raises:
        HarnessError: one of the ends gives no clear verdict, or they do not differ.
    """
    cells: dict[str, C] = {}

    def verdict(version: str) -> Verdict:
        """HELD, VIOLATED, or UNKNOWN for a version to skip."""
        if version not in cells:
            cells[version] = judge(version)
            if cells[version].verdict(check) is Verdict.UNKNOWN:
                say(f"  once more: {cells[version].why_unclear(check)}")
                cells[version] = judge(version)
        return cells[version].verdict(check) or Verdict.UNKNOWN

    def end(version: str) -> Verdict:
        found = verdict(version)
        if found is Verdict.UNKNOWN:
            why = cells[version].why_unclear(check)
            raise HarnessError(f"{program}@{version} gives no clear verdict of {check}: {why}; choose another end")
        return found

    was, now = end(versions[0]), end(versions[-1])
    if was == now:
        raise HarnessError(f"{check} is {was} in {versions[0]} and in {versions[-1]}: there is nothing to search")
    low, high = 0, len(versions) - 1
    dead: list[int] = []
    while open_places := [n for n in range(low + 1, high) if n not in dead]:
        middle = min(open_places, key=lambda n: abs(2 * n - low - high))
        found = verdict(versions[middle])
        if found == now:
            high = middle
        elif found == was:
            low = middle
        else:
            say(f"  skipped: {cells[versions[middle]].why_unclear(check)}")
            dead.append(middle)
    skipped = [Skipped(versions[n], cells[versions[n]].why_unclear(check)) for n in sorted(dead)]
    in_doubt = [versions[n] for n in sorted(dead) if low < n < high]
    return Bisection(
        program, check, was, now, versions[low], versions[high], tuple(skipped), tuple(in_doubt),
        tuple(cells[version] for version in versions if version in cells),
    )  # fmt: skip
