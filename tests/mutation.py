"""A sample of mutants of one folder, made by cosmic-ray, and how many the tests kill.

Usage: mutation.py FOLDER [--sample N] [--seed S] [--files GLOB] -- PYTEST ARGUMENTS

The tests run once as they are, and coverage notes which of them reach which line. A mutant then meets only the tests
that reach its line (those that reach its file, if an import runs the line), fastest first, as many as took ``--budget``
seconds in all. Only copies are changed. Each run of tests is a fork that has the libraries, but not Lockjaw, loaded.
Prints a line per mutant with the test that killed it, each survivor as a diff, and the row of the table.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

import coverage
import msgspec
import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec
from source_checks import assemble

QUIET = [
    "-q",
    "-p",
    "no:cacheprovider",
    "--no-header",
    "--show-capture=no",
    "--tb=no",
    "--assert=plain",
    "-Wignore::SyntaxWarning",
]
OURS = ("lockjaw", "tests", "conftest", "__main__")
#: Mutants of annotations, which no run sees.
ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr_"
NO_PROGRAM = "no program: not counted"


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Watch:
    """A plugin of pytest: what each test took, and which failed."""

    took_s: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took_s[report.nodeid] = self.took_s.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def in_fork(arguments: list[str], note: Path, after: Callable[[Watch], str], limit_s: float) -> int | None:
    """Pytest's status of a run in a fork, or None if it outlived the limit and was killed.

    What ``after`` says of the run is written to the note, what pytest prints to the log beside it.
    """
    note.write_text("")
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = _run_tests(arguments, note, after)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run_tests(arguments: list[str], note: Path, after: Callable[[Watch], str]) -> int:
    os.setsid()
    with note.with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    watch = Watch()
    status = int(pytest.main(arguments, plugins=[watch]))
    note.write_text(after(watch))
    return status


# --------------------------------------------------------------------------- the tests as they are


@dataclass
class Reach:
    """The libraries that the tests load, what each test takes, and which reach a line of a file of the folder."""

    libraries: list[str]
    took_s: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def tests(self, file: str, line: int, budget_s: float) -> list[str]:
        by_line = self.lines.get(file, {})
        nearest = max((one for one in by_line if one <= line), default=0)
        found = set(by_line.get(nearest, [])) or {test for tests in by_line.values() for test in tests}
        chosen, spent = [], 0.0
        for test in sorted(found & self.took_s.keys(), key=lambda one: (self.took_s[one], one)):
            spent += self.took_s[test]
            if chosen and spent > budget_s:
                break
            chosen.append(test)
        return chosen


def clean_run(scratch: Path, folder: Path, tests: list[str]) -> Reach:
    """Run the tests on the code as it is. Those that fail (a busy machine) meet no mutant."""
    settings, note = scratch / "coverage.ini", scratch / "clean.note"
    settings.write_text("[run]\ncore = ctrace\n")
    reaching = [f"--cov={folder}", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
    if in_fork([*QUIET, *reaching, *tests], note, _said_of_clean_run, 3600.0) != 0:
        print(note.with_suffix(".log").read_text()[-2000:], flush=True)
    libraries, *times = note.read_text().splitlines()
    data = coverage.CoverageData(str(scratch / "coverage.data"))
    data.read()
    return Reach(
        libraries.split(),
        {test: float(took) for took, test in (one.split(" ", 1) for one in times)},
        {str(Path(file).relative_to(folder)): _tests_by_line(data, file) for file in data.measured_files()},
    )


def _said_of_clean_run(watch: Watch) -> str:
    """The libraries that the tests loaded, then what each test took; without those that fail in any case."""
    libraries = [name for name in sys.modules if name.partition(".")[0] not in OURS]
    times = [f"{took} {test}" for test, took in watch.took_s.items() if test not in watch.failed]
    return "\n".join([" ".join(libraries), *times])


def _tests_by_line(data: coverage.CoverageData, file: str) -> dict[int, list[str]]:
    """Contexts are ``TEST|run``, and empty for what an import runs."""
    by_line = data.contexts_by_lineno(file)
    return {line: sorted({one.partition("|")[0] for one in found} - {""}) for line, found in by_line.items()}


def load(libraries: list[str]) -> None:
    """Import them, so that no fork has to; what does not import by itself is left to the forks."""
    for name in libraries:
        try:
            importlib.import_module(name)
        except Exception:
            sys.modules.pop(name, None)


# --------------------------------------------------------------------------- the mutants


def list_mutants(files: list[Path]) -> list[MutationSpec]:
    """Every mutant that cosmic-ray can make of the files, in one order."""
    with use_db(":memory:", WorkDB.Mode.create) as base:
        init(files, base, {})
        found = [mutant for item in base.work_items for mutant in item.mutations]
    found = [one for one in found if not one.operator_name.startswith(ANNOTATIONS)]
    return sorted(found, key=lambda one: (one.module_path, one.start_pos, one.operator_name, one.occurrence))


def meet(mutant: MutationSpec, tests: list[str], scratch: Path, limit_s: float) -> tuple[str, str]:
    """What killed the mutant ("" if nothing did), and the mutant as a diff."""
    operator = get_operator(mutant.operator_name)(**mutant.operator_args)
    note = scratch / "mutant.note"
    try:
        mutating = use_mutation(mutant.module_path, operator, mutant.occurrence)
        with mutating as (before, after):
            compile(after or "(", str(mutant.module_path), "exec")
            diff = "\n".join(unified_diff(before.splitlines(), (after or "").splitlines(), lineterm="", n=2))
            if not tests:
                return "", f"no test reaches it\n{diff}"
            arguments = [*QUIET, "-x", "--timeout=60", *tests]
            status = in_fork(arguments, note, lambda watch: "".join(watch.failed), limit_s)
    except (SyntaxError, AttributeError):  # ``*`` of a signature, and exceptions with a dotted name
        return NO_PROGRAM, ""
    if status == 0:
        return "", f"{len(tests)} tests reach it\n{diff}"
    return "time ran out" if status is None else note.read_text() or f"pytest ended with {status}", diff


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", default="**/*.py", help="which files of the folder")
    parser.add_argument("--without", default="", help="a file's name that holds no code to test")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests that one mutant meets")
    parser.add_argument("--reach", type=Path, help="keeps what the run without mutants found; read if it exists")
    parser.add_argument("tests", nargs="+")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name).resolve()
        assemble(scratch, copies=True)
        sys.path.insert(0, str(scratch))
        os.environ |= {
            "PYTHONPATH": str(scratch),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COVERAGE_FILE": str(scratch / "coverage.data"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        }
        folder = scratch / "lockjaw" / str(chosen.folder).removeprefix("src/lockjaw/")
        mutants = list_mutants([file for file in sorted(folder.glob(chosen.files)) if file.name != chosen.without])
        total = len(mutants)
        random.Random(chosen.seed).shuffle(mutants)
        if chosen.reach is not None and chosen.reach.exists():
            reach = msgspec.json.decode(chosen.reach.read_bytes(), type=Reach)
        else:
            reach = clean_run(scratch, folder, chosen.tests)
        if chosen.reach is not None:
            chosen.reach.write_bytes(msgspec.json.encode(reach))
        load(reach.libraries)
        print(f"{len(reach.took_s)} tests, {sum(reach.took_s.values()):.0f} s", flush=True)
        killed, met = 0, 0
        for mutant in mutants:
            if met == chosen.sample:
                break
            name = str(mutant.module_path.relative_to(folder))
            tests = reach.tests(name, mutant.start_pos[0], chosen.budget)
            killer, diff = meet(mutant, tests, scratch, 60.0 + 5 * chosen.budget)
            print(f"{name}:{mutant.start_pos[0]} {mutant.operator_name}: {killer or 'SURVIVED'}", flush=True)
            if killer == NO_PROGRAM:
                continue
            met += 1
            killed += bool(killer)
            if not killer:
                print(diff, flush=True)
    print(f"| {chosen.folder} | {total} | {met} | {killed} |  (seed {chosen.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
