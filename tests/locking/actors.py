"""Processes that tests of the lock start, steer over pipes, pause and kill.

``python actors.py interpret``: reads one JSON command a line, answers with one JSON line.
``python actors.py storm FILE CONTENDERS ROUNDS BODY``: see ``storm``.
``python actors.py killed FILE PHASE``: see ``killed``.
``python actors.py die FILE PHASE STEP``: see ``die``.
``python actors.py contend WITNESS FILE NUMBER SEED TARGET``: a contender of the torture.

Windows runs all of it but what forks.
"""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from contending import Shared, contender

from lockjaw.clock import ScaledClock
from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, SessionLocked, inspect_lock
from lockjaw.locking.cleaning import clean_locks
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

CLOCK = ScaledClock.start()


def answer(**fields):
    print(json.dumps(fields), flush=True)


def interpret():
    lock = held = section = check = None
    answer(ready=os.getpid())
    for line in sys.stdin:
        command = json.loads(line)
        try:
            match command.pop("do"):
                case "acquire":
                    lock = SessionLock(command.pop("file"), **command)
                    held = lock.acquire()
                    answer(ok=True, generation=held.generation, reclaimed=held.reclaimed)
                case "fence":
                    lock = SessionLock(command.pop("file"), **command)
                    held = asyncio.run(lock.fence_async())
                    answer(ok=True, generation=held.generation)
                case "append":
                    with held.section(), open(command["to"], "a") as file:
                        file.write(command["text"] + "\n")
                    answer(ok=True)
                case "enter":
                    section = held.section()
                    check = section.__enter__()
                    answer(ok=True)
                case "check":
                    check()
                    answer(ok=True)
                case "leave":
                    section.__exit__(None, None, None)
                    answer(ok=True)
                case "give up in the queue":
                    asyncio.run(_give_up_in_the_queue(command["file"]))
                    answer(ok=True)
                case "look":
                    answer(ok=True, **asdict(inspect_lock(command["file"])))
                case "clean":
                    answer(ok=True, cleaned=[one.document() for one in clean_locks(Path(command["folder"]))])
                case "remove":
                    os.unlink(command["file"])
                    answer(ok=True)
                case "release":
                    lock.release()
                    answer(ok=True)
                case "exit":
                    answer(ok=True)
                    return
                case other:
                    raise ValueError(other)
        except Exception as error:
            answer(ok=False, error=type(error).__name__, text=str(error))


async def _give_up_in_the_queue(file):
    task = asyncio.create_task(SessionLock(file, timeout=60.0, clock=CLOCK).acquire_async())
    while os.getpid() not in inspect_lock(file).waiters:
        await asyncio.sleep(0.01)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    raise AssertionError("it got the lock")


def storm(file, contenders, rounds, body):
    """All contenders find one stale lock file at the same instant; a witness file of their own tells of overlap.

    Answers with the rounds in which two owners met, and with what went wrong otherwise."""
    session, witness = Path(file), Path(file + ".witness")
    lock_file = Path(file + ".lock")
    children = []
    for _ in range(contenders):
        go_read, go_write = os.pipe()
        done_read, done_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go_write)
            while os.read(go_read, 1):
                os.write(done_write, _contend(session, witness))
            os._exit(0)
        os.close(go_read)
        children.append((pid, go_write, done_read))
        os.set_inheritable(go_write, False)
    overlaps = failures = reclaims = 0
    for _ in range(rounds):
        lock_file.write_text(body)
        for _, go, _ in children:
            os.write(go, b"!")
        results = [os.read(done, 1) for _, _, done in children]
        overlaps += b"2" in results
        failures += sum(result == b"x" for result in results)
        reclaims += sum(result == b"r" for result in results)
    for pid, _, _ in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    answer(overlaps=overlaps, failures=failures, reclaims=reclaims, left=sorted(os.listdir(session.parent)))


def _contend(session, witness):
    try:
        lock = SessionLock(session, timeout=60.0, clock=CLOCK)
        held = lock.acquire()
        try:
            descriptor = os.open(witness, os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return b"2"
        with held.section():
            time.sleep(0.001)  # the hold: long enough for a second owner to run into the witness
        os.close(descriptor)
        os.unlink(witness)
        lock.release()
        return b"r" if held.reclaimed else b"1"
    except Exception as error:
        print(repr(error), file=sys.stderr, flush=True)
        return b"x"


def _end():
    os.kill(os.getpid(), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)  # there, too, no handler runs


class KilledAt(Kernel):
    """Kills its own process before the n-th operation of the chosen kind of run."""

    def __init__(self, clock, at):
        super().__init__(clock)
        self.left = at
        observe(self, self.around)

    def around(self, call):
        if self.left == 0:
            _end()
        self.left -= 1
        return call.make()


def request_for(file, timeout_s=5.0):
    return LockRequest(LockPaths.of(file), this_process(), Registry(), timeout_s, section_wait_s=1.0)


DEAD_FOREIGN = '{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}'


def killed(file, phase):
    """Kill a child at every operation of a phase; after each, the next acquire must succeed at once.

    Phases: ``acquire`` (lock free), ``reclaim`` (a dead owner of ours), ``takeover`` (a dead foreign owner),
    ``fence`` (a live owner, this process, which then releases), ``overrule`` (the same, inside its section),
    ``release``. One answer a kill."""
    folder = os.path.dirname(file)
    for step in range(1000):
        Path(file + ".lock").unlink(missing_ok=True)
        owner = None
        if phase == "reclaim":
            _die_holding(file)
        elif phase == "takeover":
            Path(file + ".lock").write_text(DEAD_FOREIGN)
        elif phase in ("fence", "overrule"):
            owner = SessionLock(file, clock=CLOCK)
            section = owner.acquire().section()
            if phase == "overrule":
                section.__enter__()
        generation = inspect_lock(file).generation
        pid = os.fork()
        if pid == 0:
            die(file, phase, step)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if phase == "overrule":
            section.__exit__(None, None, None)
        if owner is not None:
            owner.release()
        before = time.monotonic()
        try:
            with SessionLock(file, timeout=5.0, clock=CLOCK) as held:
                took_s = time.monotonic() - before
                during = sorted(os.listdir(folder))
                with held.section():
                    rose = held.generation > generation
        except SessionLocked as error:
            answer(step=step, error=str(error))
            return
        answer(step=step, took_s=took_s, during=during, after=sorted(os.listdir(folder)), rose=rose)
        if os.WIFEXITED(status):
            answer(finished=step, status=status)
            return


def die(file, phase, step):
    """Do what a phase of ``killed`` is about, and die at an operation, if it has so many."""
    algorithm, kernel = LOCK_ALGORITHMS["guarded"], KilledAt(CLOCK, int(step))
    if phase == "release":
        grant = THIS_HOST.run(CLOCK, algorithm.acquire, request_for(file))
        run_blocking(algorithm.release(kernel, grant), kernel)
    elif phase in ("fence", "overrule"):
        request = request_for(file)
        request.section_wait_s = 0.02 if phase == "overrule" else request.section_wait_s
        run_blocking(algorithm.fence(kernel, request), kernel)
    else:
        run_blocking(algorithm.acquire(kernel, request_for(file)), kernel)


def _die_holding(file):
    pid = os.fork()
    if pid == 0:
        SessionLock(file, clock=CLOCK).acquire()
        _end()
    os.waitpid(pid, 0)


def contend(witness, file, number, seed, target):
    contender(Shared(witness), file, int(number), seed, int(target))


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "storm":
        storm(arguments[0], int(arguments[1]), int(arguments[2]), arguments[3])
    else:
        {"interpret": interpret, "killed": killed, "die": die, "contend": contend}[role](*arguments)
