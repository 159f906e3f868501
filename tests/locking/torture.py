"""A lock under everything at once, with a witness that knows nothing of locks.

    python tests/locking/torture.py            a scaled-down run, seconds
    python tests/locking/torture.py --full     200,000 acquisitions over 16 processes, 2,000 storms of 16
    python tests/locking/torture.py --full --results FILE    the same in slices, one line of FILE each; begun anew, it
                                                             goes on behind the last line

Sixteen processes take one lock again and again while a nemesis kills (and replaces), stops and continues them and
while they give up waits. The witness is a word of shared memory: who is inside writes its number there, and whoever
finds another's number has met a second owner. The nemesis stops whom it is about to kill, and wipes its number.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from contending import CANCELLED, FALLS, INSIDE, OVERLAPS, TIMED_OUT, TOTAL, Shared, contender

from lockjaw.harness.bench.contention import storm
from lockjaw.harness.bench.contestants import contestants

PROCESSES = 16
SLICE, STORM_SLICE = 10_000, 100


def forked(shared, file, number, seed, target):
    """-> pid of a new contender."""
    pid = os.fork()
    if pid == 0:
        try:
            contender(shared, file, number, f"{seed}/{os.getpid()}", target)
        finally:
            os._exit(4)
    return pid


def torture(
    target,
    seed=1,
    progress=lambda text: None,
    counts=None,
    *,
    processes=PROCESSES,
    begin=forked,
    shared=None,
    rest_s=0.05,
):
    """-> what went wrong, as a list of sentences.

    ``counts``: gets how much was done; ``begin``: starts a contender; ``rest_s``: the nemesis's, at most."""
    rng, shared, wrong = random.Random(seed), shared or Shared(), []
    with tempfile.TemporaryDirectory(prefix="lockjaw-torture-", dir=os.environ.get("TORTURE_DIR")) as folder:
        file = str(Path(folder) / "s.jsonl")
        seeds = iter(range(10**9))

        def start(number):
            return begin(shared, file, number, f"{seed}/{next(seeds)}", target)

        pids = {number: start(number) for number in range(processes)}
        kills = stops = 0
        last, changed = 0, time.monotonic()
        while shared.get(TOTAL) < target:
            time.sleep(rng.random() * rest_s)
            number = rng.randrange(processes)
            if rng.random() < 0.5:
                os.kill(pids[number], signal.SIGSTOP)
                os.waitid(os.P_PID, pids[number], os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if shared.get(INSIDE) == number + 1:
                    shared.set(INSIDE, 0)  # while it still has the lock: nobody else can be writing here
                os.kill(pids[number], signal.SIGKILL)
                os.waitpid(pids[number], 0)
                pids[number] = start(number)
                kills += 1
            else:
                os.kill(pids[number], signal.SIGSTOP)
                time.sleep(rng.random() * 0.02)
                os.kill(pids[number], signal.SIGCONT)
                stops += 1
            for other, pid in list(pids.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended and os.waitstatus_to_exitcode(status) != 0:
                    wrong.append(f"contender {other} ended with {os.waitstatus_to_exitcode(status)}")
                    pids[other] = start(other)
                elif ended:
                    pids[other] = start(other)
            total = shared.get(TOTAL)
            if total != last:
                last, changed = total, time.monotonic()
            elif time.monotonic() - changed > 60.0:
                wrong.append(f"nobody got the lock for 60 s, after {total}")
                break
            progress(f"{total} of {target} acquisitions, {kills} kills, {stops} stops")
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 150.0
        left = dict(pids)
        while left and time.monotonic() < until:
            for number, pid in list(left.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del left[number]
                    if os.waitstatus_to_exitcode(status):
                        wrong.append(f"contender {number} ended with {os.waitstatus_to_exitcode(status)}")
            time.sleep(0.01)
        for number, pid in left.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            wrong.append(f"contender {number} was still waiting: a lost waiter")
        if shared.get(OVERLAPS):
            wrong.append(f"{shared.get(OVERLAPS)} overlaps")
        if shared.get(FALLS):
            wrong.append(f"the generation did not rise {shared.get(FALLS)} times")
        names = sorted(os.listdir(folder))
        if names != ["s.jsonl.body.guard", "s.jsonl.guard"]:
            wrong.append(f"left behind: {names}")
        if counts is not None:
            words = {name: sum(shared.get(at + n * 8) for n in range(processes))
                     for name, at in (("timed_out", TIMED_OUT), ("cancelled", CANCELLED))}  # fmt: skip
            counts.update(acquisitions=shared.get(TOTAL), kills=kills, stops=stops, **words)
    return wrong


def storms(rounds):
    """-> (storms with two owners at once, storms)"""
    ours = contestants()[0][0]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TORTURE_DIR")) as folder:
        return storm(ours, Path(folder), PROCESSES, rounds)


def run_slice(kind, size, seed, progress):
    """-> one line of the results."""
    began, done = time.monotonic(), {}
    if kind == "acquisitions":
        wrong = torture(size, seed, progress, done)
    else:
        overlaps, done["storms"] = storms(size)
        wrong = [f"{overlaps} storms with two owners"] if overlaps else []
    return {"kind": kind, "seed": seed, **done, "took_s": round(time.monotonic() - began, 1), "wrong": wrong}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--acquisitions", type=int)
    parser.add_argument("--storms", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--results", type=Path, help="a line of JSON for each slice; what stands there is not run again"
    )
    options = parser.parse_args()
    wanted = {
        "acquisitions": (200_000 if options.full else 2_000) if options.acquisitions is None else options.acquisitions,
        "storms": (2_000 if options.full else 20) if options.storms is None else options.storms,
    }
    lines = []
    if options.results is not None and options.results.exists():
        lines = [json.loads(line) for line in options.results.read_text().splitlines()]

    def sums():
        """What all slices together did."""
        names = ("acquisitions", "kills", "stops", "timed_out", "cancelled", "storms", "took_s")
        return {name: sum(line.get(name, 0) for line in lines) for name in names}

    try:
        for kind, size in (("acquisitions", SLICE), ("storms", STORM_SLICE)):
            while (left := wanted[kind] - sums()[kind]) > 0:
                seed = options.seed + len(lines)

                def progress(text, kind=kind):
                    print(f"\r\033[K{sums()[kind]} of {wanted[kind]} {kind}; this slice: {text}", end="", flush=True)

                line = run_slice(kind, min(left, size), seed, progress)
                lines.append(line)
                if options.results is not None:
                    with options.results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                print(f"\r\033[K{json.dumps(line)}", flush=True)
    except KeyboardInterrupt:
        print("\nstopped; the slice that was under way does not count")
    done = sums()
    print(
        f"{done['acquisitions']:,} acquisitions over {PROCESSES} processes with {done['kills']:,} kills, "
        f"{done['stops']:,} stops,\n{done['timed_out']:,} waits that timed out and {done['cancelled']:,} cancelled; "
        f"{done['storms']:,} storms of {PROCESSES}; {done['took_s']:,.0f} s in all"
    )
    wrong = [sentence for line in lines for sentence in line["wrong"]]
    missing = any(done[kind] < count for kind, count in wanted.items())
    print("\n".join(wrong) or ("held so far" if missing else "held"))
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
