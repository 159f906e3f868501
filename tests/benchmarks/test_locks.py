"""The single-process cost of each lock algorithm: ``pytest tests/benchmarks --benchmark-only`` shows the table."""

import pytest

from lockjaw.harness.bench.contestants import contestants

HERE = [contestant for contestant in contestants()[0] if contestant.open_async is None]


@pytest.mark.parametrize("contestant", HERE, ids=lambda contestant: contestant.name)
def test_uncontended_acquire_and_release(benchmark, tmp_path, contestant):
    acquire, release = contestant.open(str(tmp_path / "s.jsonl"))

    def turn():
        acquire()
        release()

    benchmark.pedantic(turn, rounds=20, iterations=10, warmup_rounds=2)
    acquire()  # it can be taken again: nothing was left
    release()
