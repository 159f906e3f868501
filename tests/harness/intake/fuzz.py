"""Fuzz the reader, and measure it: not in the default run.

    python tests/harness/intake/fuzz.py                 coverage-guided with atheris, until Ctrl-C or -max_total_time=N
    python tests/harness/intake/fuzz.py --measure       seconds per MB and peak memory on large hostile inputs

``pip install atheris`` first; without it the fuzzing falls back to random mutations of the reports beside this file.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from lockjaw.documents.yaml import load_document
from lockjaw.harness.incident.scenario import scenario_from

try:
    import atheris  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    atheris = None
# Only what reads the text is watched: to instrument everything that is imported takes minutes.
with atheris.instrument_imports(include=["lockjaw.harness.intake"]) if atheris else nullcontext():
    from lockjaw.harness.intake import read_report
    from lockjaw.harness.intake.compose import compose
    from lockjaw.harness.intake.nearest import near_compositions

REPORTS = Path(__file__).parent / "reports"
MB = 1 << 20


def one(data: bytes) -> None:
    """Whatever the bytes are: an answer, its JSON, and a scenario that can be read if one is composed."""
    report = read_report(data)
    report.document()
    for composition in (compose(report), next(near_compositions(report), None)):
        if composition is not None:
            values = next(composition.choices())
            composition.scenario(values)
            scenario_from(load_document(composition.text(values), "fuzzed.yaml"), name=composition.name)


def mutate(data: bytes, stream: random.Random) -> bytes:
    """A few random edits: bytes changed, pieces cut, doubled, swapped."""
    made = bytearray(data)
    for _ in range(stream.randint(1, 8)):
        at = stream.randrange(len(made) + 1)
        length = stream.randint(1, 60)
        match stream.randrange(5):
            case 0:
                made[at:at] = bytes(stream.randrange(256) for _ in range(length))
            case 1:
                del made[at : at + length]
            case 2:
                made[at:at] = made[at : at + length] * stream.randint(1, 30)
            case 3:
                made[at:at] = stream.choice(
                    (b"\n", b"\r", b"> ", b"\\", b'"', b"{", b"|", b"(", b"\x1b[", b"\xff", b"\0")
                )
            case _:
                other = stream.randrange(len(made) + 1)
                made[at : at + length], made[other : other + length] = (
                    made[other : other + length],
                    made[at : at + length],
                )
    return bytes(made)


def randomly(seconds: float, seed: int = 1) -> int:
    """Random mutations for so long; the number of inputs."""
    stream = random.Random(seed)
    seeds = [path.read_bytes() for path in sorted(REPORTS.glob("*.txt"))]
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutate(stream.choice(seeds), stream)
        before = time.process_time()
        one(data)
        spent = time.process_time() - before
        assert spent < 1.0 + len(data) / MB, f"{spent:.1f} s for {len(data)} bytes: {data[:200]!r}"
        count += 1
    return count


# --------------------------------------------------------------------------- measuring


def _repeated(piece: bytes, size: int) -> Iterator[bytes]:
    chunk = piece * (MB // len(piece) + 1)
    for _ in range(size // len(chunk) + 1):
        yield chunk


def _different(size: int) -> Iterator[bytes]:
    made = 0
    while made < size:
        piece = "".join(
            f"2026-05-24T10:10:19.763+00:00 [diagnostic] lane task error: lane=a{made + n} durationMs={made + n} "
            f'error="SessionWriteLockTimeoutError: session file locked (timeout {made + n}ms): pid={made + n} x"\n'
            for n in range(1000)
        ).encode()
        made += len(piece)
        yield piece


LARGE: dict[str, Callable[[int], Iterator[bytes]]] = {
    "a log without locks": lambda size: _repeated(
        b"2026-05-24T10:10:19.763+00:00 [http] GET /index.html 200 in 12ms\n", size),
    "only lock errors": lambda size: _repeated(
        b"2026-05-24T10:10:19.763+00:00 [diagnostic] lane task error: lane=main durationMs=60010 "
        b'error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=7 alive=true ageMs=61000 '
        b'/data/.openclaw/agents/main/sessions/0b0b0b0b-0000-4000-8000-000000000001.jsonl.lock"\n', size),
    "different lock errors": _different,
    "one line": lambda size: _repeated(b"session file locked (timeout 10000ms): pid=1 ", size),
    "binary": lambda size: (os.urandom(MB) for _ in range(size // MB)),
    "brackets": lambda size: _repeated(b'{"a":[{"pid":', size),
    "bars": lambda size: _repeated(b"All models failed (999): a/b: | | | (timeout (timeout ", size),
    "pids": lambda size: _repeated(b"pid process ", size),
    "summaries": lambda size: _repeated(b"All models failed (9): ", size),
    "NULs": lambda size: _repeated(bytes(MB), size),
    "wrapped words": lambda size: _repeated(b"session\nfile\nlocked\n(timeout\n", size),
}  # fmt: skip


def measure(size: int) -> None:
    for name, made in LARGE.items():
        child = os.fork()
        if child == 0:
            before = time.process_time()
            report = read_report(made(size))
            spent = time.process_time() - before
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:22} {size // MB:4} MB  {spent:6.1f} s CPU  {spent / (size / MB):.3f} s/MB "
                  f" peak {peak:.0f} MB "
                  f" classes {','.join(report.classes) or '-'}", flush=True)  # fmt: skip
            os._exit(0)
        os.waitpid(child, 0)


def main(arguments: list[str]) -> None:
    if "--measure" in arguments:
        measure(int(next((a for a in arguments if a.isdigit()), "100")) * MB)
        return
    if atheris is None:
        print(f"no atheris; {randomly(60.0)} random mutations without a crash")
        return
    atheris.Setup([sys.argv[0], *arguments, str(REPORTS)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
