"""The pytest plugin: scenarios as tests, and fakes as fixtures.

    @pytest.mark.lockjaw("gateway_timeout", policy="takeover")
    def test_users_get_an_answer(): ...

pytest imports this module in every project of the environment, so it imports nothing of Lockjaw but on use. A fake
is loud: a request that its script does not know, and a step that was not used, fail the test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from lockjaw.fakes.contenders.contender import Contender
    from lockjaw.harness.search.cluster import Elsewhere
    from lockjaw.testing.contenders import Contenders
    from lockjaw.testing.fake_mcp import FakeMcp
    from lockjaw.testing.fake_model import FakeModel
    from lockjaw.testing.mock_gateway import GatewayFixture
    from lockjaw.testing.scenario_runs import Order, ScenarioRuns

SEEDS = "--lockjaw-seeds"
CLUSTER = "--lockjaw-cluster"
_SHOWN = 30  # requests in the report of a failed test
ENGINE = "--lockjaw-engine"
MARKER = (
    "lockjaw(scenario, *, policy='takeover', engine=None, seed=1, time_scale=None, breaks=None): "
    "run a Lockjaw scenario before the test's body; fail unless its verdict is HELD or, for a known bug, unless it "
    "breaks exactly the laws in breaks=['answered', ...]; UNKNOWN fails"
)


class _Fake(Protocol):
    def account(self) -> list[str]: ...
    def verify(self, *, unused: bool = ...) -> list[str]: ...
    def close(self) -> None: ...


FakeT = TypeVar("FakeT", bound=_Fake)

_fakes: pytest.StashKey[dict[str, _Fake]] = pytest.StashKey()
_contenders: pytest.StashKey[Contenders] = pytest.StashKey()
_told: pytest.StashKey[set[str]] = pytest.StashKey()
_failed_by_fakes: pytest.StashKey[bool] = pytest.StashKey()
_proves_nothing: pytest.StashKey[bool] = pytest.StashKey()
_runs: pytest.StashKey[ScenarioRuns] = pytest.StashKey()
_elsewhere: pytest.StashKey[Elsewhere] = pytest.StashKey()


# --------------------------------------------------------------------------- options and the marker


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lockjaw", "Lockjaw scenarios")
    group.addoption(
        SEEDS, type=_count, default=1, metavar="N", help="run each marked test with N seeds: its own, the next, ..."
    )
    group.addoption(
        ENGINE, default=None, metavar="NAME", help="run every scenario on this engine, whatever the test asks for"
    )
    group.addoption(
        CLUSTER, default=None, metavar="ADDRESS",
        help="make simulated runs on a Dask cluster: tcp://HOST:PORT or local:N",
    )  # fmt: skip


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of seeds, 1 or more, got {text!r}")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    engine = config.getoption(ENGINE)
    if engine is not None:
        from lockjaw.errors import LocalError
        from lockjaw.testing.scenario_runs import check_engine

        try:
            check_engine(engine)
        except LocalError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> str | None:
    chosen = [f"seeds {config.getoption(SEEDS)}"] if config.getoption(SEEDS) > 1 else []
    chosen += [f"engine {config.getoption(ENGINE)}"] if config.getoption(ENGINE) else []
    return f"lockjaw: {', '.join(chosen)}" if chosen else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item per seed, so that workers share them."""
    count = metafunc.config.getoption(SEEDS)
    marker = metafunc.definition.get_closest_marker("lockjaw")
    if count == 1 or not (marker or "lockjaw_seed" in metafunc.fixturenames):
        return
    if "lockjaw_seed" not in metafunc.fixturenames:
        metafunc.fixturenames.append("lockjaw_seed")
    first = _first_seed(marker)
    metafunc.parametrize("lockjaw_seed", range(first, first + count), indirect=True, ids=lambda seed: f"seed{seed}")


def _first_seed(marker: pytest.Mark | None) -> int:
    seed = marker.kwargs.get("seed", 1) if marker else 1
    return seed if isinstance(seed, int) else 1  # what is wrong with it is said when the module is collected


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A marker that is wrong is an error of collection: a failure of the test could be hidden by ``xfail``."""
    report = yield
    marked = [
        (item, marker)
        for item in report.result or ()
        if isinstance(item, pytest.Item) and (marker := item.get_closest_marker("lockjaw")) is not None
    ]
    if not marked:
        return report
    from lockjaw.errors import LocalError
    from lockjaw.testing.scenario_runs import Order

    engine = collector.config.getoption(ENGINE)
    wrong: dict[str, None] = {}  # the items of one test with many seeds say the same
    for item, marker in marked:
        try:
            Order.of(marker.args, dict(marker.kwargs)).check(Path(item.path).parent, engine)
        except LocalError as error:
            wrong[f"{getattr(item, 'originalname', None) or item.name}: {error}"] = None
    if wrong:
        report.outcome, report.longrepr, report.result = "failed", "\n".join(wrong), []
    return report


# --------------------------------------------------------------------------- fixtures


@pytest.fixture
def lockjaw_seed(request: pytest.FixtureRequest) -> int:
    """The test's seed: the marker's (or 1), and with ``--lockjaw-seeds N`` each of the N from there."""
    seed: int = getattr(request, "param", _first_seed(request.node.get_closest_marker("lockjaw")))
    return seed


@pytest.fixture
def lockjaw_time_scale() -> float:
    """Real seconds per nominal second for the fakes: 1.0. Override it in your conftest to make minutes pass quickly."""
    return 1.0


@pytest.fixture
def lockjaw_run(request: pytest.FixtureRequest, lockjaw_seed: int) -> ScenarioRuns:
    """``run = lockjaw_run("gateway_timeout", policy="takeover")``; then ``run.verdict``, ``run.checks``, ..."""
    return _scenario_runs(request.node)


@pytest.fixture
def fake_model(request: pytest.FixtureRequest, lockjaw_time_scale: float) -> Iterator[FakeModel]:
    """A scripted model server for this test alone; speaks as OpenAI, Anthropic, Gemini or Ollama."""
    from lockjaw.clock import ScaledClock
    from lockjaw.testing.fake_model import FakeModel

    yield from _watched(request, FakeModel(clock=ScaledClock.start(lockjaw_time_scale)))


@pytest.fixture
def mock_gateway(request: pytest.FixtureRequest, lockjaw_time_scale: float) -> Iterator[GatewayFixture]:
    """A scripted gateway for this test alone."""
    from lockjaw.clock import ScaledClock
    from lockjaw.testing.mock_gateway import GatewayFixture

    yield from _watched(request, GatewayFixture(clock=ScaledClock.start(lockjaw_time_scale)))


@pytest.fixture
def lock_contenders(request: pytest.FixtureRequest, lockjaw_time_scale: float) -> Iterator[Contenders]:
    """``other = lock_contenders()``: as many contending processes as the test wants."""
    from lockjaw.clock import ScaledClock
    from lockjaw.testing.contenders import Contenders

    with Contenders(ScaledClock.start(lockjaw_time_scale)) as contenders:
        request.node.stash[_contenders] = contenders
        yield contenders


@pytest.fixture
def lock_contender(lock_contenders: Contenders) -> Contender:
    """Another process that takes, holds and gives back session locks on order, and freezes or dies with them."""
    return lock_contenders()


@pytest.fixture
def fake_mcp(tmp_path: Path, lockjaw_time_scale: float) -> Iterator[FakeMcp]:
    """A tool with effects for clients that speak MCP, over stdio or HTTP, and how often each call had its effect."""
    from lockjaw.testing.fake_mcp import FakeMcp

    with FakeMcp(tmp_path, lockjaw_time_scale) as fake:
        yield fake


def _watched(request: pytest.FixtureRequest, fake: FakeT) -> Iterator[FakeT]:
    request.node.stash.setdefault(_fakes, {})[request.fixturename or ""] = fake
    try:
        yield fake
    finally:
        fake.close()
    # The test was judged when its body ended; this is what came while other fixtures were torn down.
    told = request.node.stash.get(_told, set())
    late = [problem for problem in fake.verify(unused=False) if problem not in told]
    if late:
        pytest.fail(f"{request.fixturename}, after the test: " + "; ".join(late), pytrace=False)


# --------------------------------------------------------------------------- running and judging


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Before the body: the marker's scenario. After it: did every fake see what its script says?"""
    marker = item.get_closest_marker("lockjaw")
    if marker is not None:
        _run_marked(item, marker)
    try:
        result = yield
    except Exception as error:
        if not _is_about_the_call(error) or item.config.getoption("fulltrace"):
            raise
        from lockjaw.testing.failures import seen_from_the_test

        raise seen_from_the_test(error, item.path) from None
    complaints = _complaints(item, unused=True)
    if complaints:
        item.stash[_failed_by_fakes] = True
        pytest.fail("\n".join(complaints), pytrace=False)
    return result


def _is_about_the_call(error: Exception) -> bool:
    """A test called Lockjaw wrongly: the line of the test and the sentence say all."""
    errors = sys.modules.get("lockjaw.errors")  # not loaded: nothing of Lockjaw was called
    return errors is not None and isinstance(error, errors.LocalError)


def pytest_collection_finish(session: pytest.Session) -> None:
    """With a cluster: ask for the runs of all marked tests, so that they are made at the same time."""
    config = session.config
    address = config.getoption(CLUSTER)
    if address is None or config.getoption("collectonly"):
        return
    from lockjaw.errors import LocalError
    from lockjaw.harness.search.cluster import Cluster, Elsewhere
    from lockjaw.testing.scenario_runs import Order, choose_engine, loaded_for

    try:
        cluster = Cluster(address)
    except LocalError as error:
        raise pytest.UsageError(str(error)) from None
    config.add_cleanup(cluster.close)
    elsewhere = config.stash[_elsewhere] = Elsewhere(cluster)
    if hasattr(config, "workerinput"):
        return  # each worker of pytest-xdist has collected all tests, and runs some
    for item in session.items:
        marker = item.get_closest_marker("lockjaw")
        order = Order.of(marker.args, dict(marker.kwargs)) if marker else None
        if order is None or choose_engine(order.engine, config.getoption(ENGINE)) != "sim":
            continue
        scenario = loaded_for(order.scenario, Path(item.path).parent)
        for seed in _seeds(item, order):
            elsewhere.ask(scenario, order.policy, seed)


def _run_marked(item: pytest.Item, marker: pytest.Mark) -> None:
    from lockjaw.errors import HarnessError, LocalError
    from lockjaw.testing.scenario_runs import Order, ScenarioFailed

    failure = ""
    try:
        order = Order.of(marker.args, dict(marker.kwargs))
        runs = _scenario_runs(item)
        for seed in _seeds(item, order):
            runs.perform(order, seed)
    except (LocalError, HarnessError, ScenarioFailed) as error:
        failure = str(error)
        item.stash[_proves_nothing] = not isinstance(error, ScenarioFailed) or error.proves_nothing
    if failure:  # outside of the handler: pytest would print the error twice
        pytest.fail(failure, pytrace=False)


def _seeds(item: pytest.Item, order: Order) -> range:
    """The item's own seed; all of them where pytest cannot make an item of each (methods of a TestCase)."""
    own = _own_seed(item)
    return range(order.seed, order.seed + item.config.getoption(SEEDS)) if own is None else range(own, own + 1)


def _own_seed(item: pytest.Item) -> int | None:
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get("lockjaw_seed")


def _scenario_runs(item: pytest.Item) -> ScenarioRuns:
    from lockjaw.testing.scenario_runs import ScenarioRuns, end_on_signals

    end_on_signals(item.config)
    if _runs not in item.stash:
        own = _own_seed(item)
        # Each worker of pytest-xdist has a store of its own: they prune theirs by themselves.
        worker = getattr(item.config, "workerinput", {}).get("workerid", "main")
        item.stash[_runs] = ScenarioRuns(
            out=item.config.rootpath / ".lockjaw" / "pytest" / worker,
            engine=item.config.getoption(ENGINE),
            folder=Path(item.path).parent,
            seed=_first_seed(item.get_closest_marker("lockjaw")) if own is None else own,
            simulate=item.config.stash.get(_elsewhere, None),
        )
    return item.stash[_runs]


def _complaints(item: pytest.Item, *, unused: bool) -> list[str]:
    fakes = item.stash.get(_fakes, {})
    return [f"{name}: {problem}" for name, fake in fakes.items() for problem in fake.verify(unused=unused)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a failed test shows: first what its fakes saw, last the line that repeats its scenario."""
    report = yield
    if report.when != "call":
        return report
    if hasattr(report, "wasxfail") and report.skipped and _is_no_finding(item, call):
        del report.wasxfail
        report.outcome = "failed"
    item.stash[_told] = {complaint.partition(": ")[2] for complaint in _complaints(item, unused=False)}
    if report.failed:
        if account := _account(item):
            report.sections.append(("what the fakes saw", "\n".join(account)))
        complaints = _complaints(item, unused=True)
        if complaints and not item.stash.get(_failed_by_fakes, False):
            from lockjaw.testing.failures import begin_with

            begin_with(report, complaints)
        if _runs in item.stash and item.stash[_runs].runs:
            report.sections.append(("lockjaw", item.stash[_runs].section()))
    return report


def _account(item: pytest.Item) -> list[str]:
    """What each fake of the test saw, and what each contender does now, a line each."""
    lines: list[str] = []
    for name, fake in item.stash.get(_fakes, {}).items():
        account = fake.account()
        lines += [f"{name}: {line}" for line in account[:_SHOWN]] or [f"{name}: no request"]
        if len(account) > _SHOWN:
            lines.append(f"{name}: and {len(account) - _SHOWN} more")
    contenders = item.stash.get(_contenders, None)
    return lines if contenders is None else lines + contenders.account()


def _is_no_finding(item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """The test failed, but not because a law was broken: what ``xfail`` expects has not been shown."""
    if item.stash.get(_proves_nothing, False):
        return True
    testing = sys.modules.get("lockjaw.testing.scenario_runs")
    error = call.excinfo.value if call.excinfo is not None else None
    if testing is None or error is None:
        return False
    if isinstance(error, testing.ScenarioFailed):
        return bool(error.proves_nothing)
    runs = item.stash.get(_runs, None)
    return runs is not None and runs.refused(error)
