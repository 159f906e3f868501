"""The pytest plugin, seen from the projects that use it: what passes, what fails, and what a failure shows."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = --strict-markers --strict-config -p no:cacheprovider
"""
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
HEADER = f"import pytest\nASK = {ASK!r}\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty project whose warnings are errors; pytest runs in a process of its own, as a user's does."""
    pytester.makeini(INI)
    return pytester


def run(project: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    project.makepyfile(HEADER + body)
    return project.runpytest_subprocess(*options)


# --------------------------------------------------------------------------- cost when it is not used


def test_importing_the_plugin_imports_nothing_but_itself() -> None:
    probe = (
        "import sys, pytest, argparse\n"
        "before = set(sys.modules)\n"
        "import lockjaw.pytest_plugin\n"
        "print(sorted(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert out.stdout.strip() == "['lockjaw', 'lockjaw.pytest_plugin']"


def test_importing_the_plugin_costs_less_than_five_milliseconds() -> None:
    """CPU time, the least of five: what else the machine does is not the plugin's."""
    probe = (
        "import sys, time, pytest, argparse, pathlib, typing, collections.abc\n"
        "begun = time.process_time()\n"
        "import lockjaw.pytest_plugin\n"
        "print(time.process_time() - begun)"
    )
    taken = [
        float(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(taken) < 0.005, taken


def test_a_project_that_does_not_use_lockjaw_loads_none_of_it(project: pytest.Pytester) -> None:
    body = """
import sys
def test_nothing():
    assert sorted(name for name in sys.modules if name.startswith("lockjaw")) == ["lockjaw", "lockjaw.pytest_plugin"]
    assert not {"httpx", "msgspec", "websockets", "cryptography", "yaml"} & sys.modules.keys()
"""
    run(project, body, "-p", "no:respx", "-p", "no:anyio").assert_outcomes(passed=1)


# --------------------------------------------------------------------------- the marker


def test_an_empty_marked_function_passes_where_the_scenario_holds(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.lockjaw("gateway_timeout")
def test_takeover(): ...
"""
    run(project, body).assert_outcomes(passed=1)
    assert list(project.path.glob(".lockjaw/pytest/main/gateway_timeout/*-takeover/verdict.json"))


def test_a_violated_scenario_fails_with_its_findings_and_ends_with_the_replay_line(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session")
def test_reuse():
    raise AssertionError("the body does not run")
"""
    result = run(project, body)
    result.assert_outcomes(failed=1)
    shown = result.stdout.str().partition("short test summary")[0].rstrip("= \n").splitlines()

    assert any("X VIOLATED never_session_locked" in line for line in shown)
    assert any(line.lstrip(" >").startswith("101.") or "does NOT get the lock" in line for line in shown)
    assert not any("the body does not run" in line for line in shown)
    assert sum("During handling" in line for line in shown) == 0
    assert shown[-1].startswith("lockjaw replay .lockjaw/pytest/main/gateway_timeout/")
    assert (project.path / shown[-1].removeprefix("lockjaw replay ") / "verdict.json").exists()


def test_a_run_that_never_reached_the_danger_is_not_green(project: pytest.Pytester) -> None:
    project.path.joinpath("quiet.yaml").write_text(QUIET)
    body = """
@pytest.mark.lockjaw("quiet.yaml")
def test_quiet(): ...
"""
    result = run(project, body)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UNKNOWN danger_reached: never happened: the gateway was killed*"])


def test_the_body_runs_after_the_scenario_and_sees_its_run(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.lockjaw("gateway_timeout", seed=3)
async def test_coroutine(lockjaw_run):
    (run,) = lockjaw_run.runs
    assert (run.scenario, run.seed, run.outcome.answered) == ("gateway_timeout", 3, True)

@pytest.mark.lockjaw("gateway_timeout")
def test_body_fails(lockjaw_run):
    assert lockjaw_run.runs[0].outcome.turn_executions == 7

import unittest
class TestCase(unittest.TestCase):
    @pytest.mark.lockjaw("gateway_timeout", policy="reuse-session")
    def test_unittest(self):
        pass
"""
    result = run(project, body)

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*assert 1 == 7",
            "*policy takeover (*seed 1) HELD; to repeat it:",
            "lockjaw replay *",
            "FAILED*test_unittest*",
        ]
    )


MISTAKES = {
    '"gateway_timeout", polcy="takeover"': "then any of policy, engine, seed, time_scale, breaks",
    "": "expected one scenario",
    '"gateway_timeot"': "did you mean gateway_timeout",
    '"no_such.yaml"': "no file has this name",
    '"gateway_timeout", policy="reuse_session"': "did you mean reuse-session",
    '"gateway_timeout", engine="steam"': "engine: expected one of ",
    '"gateway_timeout", seed=-1': "seed: expected a whole number >= 0, got -1",
    '"gateway_timeout", time_scale=2': "expected a number above 0 and at most 1",
    '"gateway_timeout", breaks="answered"': "expected a list of laws",
    '"gateway_timeout", breaks=["anwsered"]': "did you mean answered",
    '"gateway_timeout", breaks=[]': "breaks: expected laws of gateway_timeout",
}


def test_a_marker_that_is_wrong_is_an_error_of_collection_which_no_xfail_hides(project: pytest.Pytester) -> None:
    body = "".join(
        f"""
@pytest.mark.xfail(strict=True)
@pytest.mark.lockjaw({marker})
def test_{n}(): ...
"""
        for n, marker in enumerate(MISTAKES)
    )
    project.makepyfile(test_case=UNITTEST)
    result = run(project, body, "--lockjaw-seeds", "2")

    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    shown = result.stdout.str()
    for n, said in enumerate(MISTAKES.values()):
        (line,) = (line for line in shown.splitlines() if line.startswith(f"test_{n}: "))
        assert said in line
    assert "test_method: gateway_timeot: expected " in shown


UNITTEST = """
import pytest, unittest
class Case(unittest.TestCase):
    @pytest.mark.lockjaw("gateway_timeot")
    def test_method(self): ...
"""


def test_only_a_broken_law_is_a_failure_that_xfail_expects(project: pytest.Pytester) -> None:
    project.path.joinpath("quiet.yaml").write_text(QUIET)
    body = """
known = pytest.mark.xfail(strict=True)

@known
@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session")
def test_broken(): ...

@known
@pytest.mark.lockjaw("quiet.yaml")
def test_unknown(): ...

@known
def test_called(lockjaw_run):
    lockjaw_run("quiet.yaml", must_hold=True)

@known
@pytest.mark.lockjaw("quiet.yaml", policy="no-fallback")
def test_harness(monkeypatch): ...

@known
def test_misspelt_name(lockjaw_run):
    lockjaw_run("gateway_timeot", must_hold=True)

@known
def test_misspelt_keyword(lockjaw_run):
    lockjaw_run("gateway_timeout", polcy="takeover")

@known
def test_called_and_the_harness_fails(lockjaw_run):
    lockjaw_run("quiet.yaml", policy="no-fallback")

@known
def test_of_its_own(lockjaw_run):
    with pytest.raises(Exception):
        lockjaw_run("gateway_timeot")
    assert not "the test's own bug, which xfail may expect"
"""
    project.makeconftest(HARNESS_FAILS)
    result = run(project, body)

    result.assert_outcomes(xfailed=2, failed=6)
    result.stdout.fnmatch_lines(["*got 'gateway_timeot'; did you mean gateway_timeout?*"])
    result.stdout.fnmatch_lines(["*unexpected keyword argument 'polcy'*"])
    result.stdout.fnmatch_lines(["*UNKNOWN danger_reached: never happened: the gateway was killed*"])
    result.stdout.fnmatch_lines(["the machine is out of memory"])
    assert "raise ScenarioFailed" not in result.stdout.str()


HARNESS_FAILS = """
from lockjaw.errors import HarnessError
from lockjaw.testing import scenario_runs
made = scenario_runs.run_scenario
def run_scenario(scenario, *, policy, **others):
    if policy == "no-fallback":
        raise HarnessError("the machine is out of memory")
    return made(scenario, policy=policy, **others)
scenario_runs.run_scenario = run_scenario
"""


def test_a_known_bug_passes_while_exactly_the_laws_that_it_names_are_broken(project: pytest.Pytester) -> None:
    project.path.joinpath("quiet.yaml").write_text(QUIET)
    body = """
@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session", breaks=["answered", *OTHERS])
def test_exactly(): ...

@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session", breaks=["answered"])
def test_more(): ...

@pytest.mark.lockjaw("gateway_timeout", policy="reuse-session", breaks=["answered", "one_writer", *OTHERS])
def test_fewer(): ...

@pytest.mark.lockjaw("gateway_timeout", breaks=["answered"])
def test_gone(): ...

@pytest.mark.lockjaw("quiet.yaml", breaks=["answered"])
def test_unknown(): ...
"""
    result = run(project, f"OTHERS = {OTHERS!r}\n" + body)

    result.assert_outcomes(passed=1, failed=4)
    shown = result.stdout.str()
    for said in (
        "VIOLATED, but not as breaks=['answered'] says",
        "X VIOLATED never_session_locked, which breaks does not name: ",
        "+ HELD one_writer, which breaks names: ",
        "+ HELD answered, which breaks names: ",
        "The bug is gone? Remove breaks",
        "UNKNOWN does not prove that the laws in breaks are still broken: answered",
    ):
        assert said in shown, said
    assert shown.count("The bug is gone?") == 1


#: What gateway_timeout breaks under reuse-session beside `answered`.
OTHERS = ["never_session_locked", "lock_is_not_a_model_failure"]


def test_many_seeds_are_many_tests_and_workers_keep_their_runs_apart(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.lockjaw("gateway_timeout", seed=5)
def test_seeds(lockjaw_run, lockjaw_seed):
    assert [run.seed for run in lockjaw_run.runs] == [lockjaw_seed]

def test_called(lockjaw_run, lockjaw_seed):
    assert lockjaw_run("gateway_timeout").seed == lockjaw_seed

def test_other(): ...
"""
    result = run(project, body, "-n", "2", "--lockjaw-seeds", "3", "-v")
    result.assert_outcomes(passed=7)
    names = {path.name for path in (project.path / ".lockjaw" / "pytest").iterdir()}
    seeds = sorted(
        int(path.name.split("-")[-2]) for path in project.path.glob(".lockjaw/pytest/gw*/gateway_timeout/2*-takeover")
    )

    assert names == {"gw0", "gw1"}
    assert seeds == [1, 2, 3, 5, 6, 7]
    result.stdout.fnmatch_lines(["*test_seeds?seed7?*"])


@pytest.mark.real
def test_the_engine_of_the_command_line_beats_that_of_the_test(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.lockjaw("gateway_timeout_fast_backup", engine="sim")
def test_it(lockjaw_run):
    assert lockjaw_run.runs[0].engine == "real"
"""
    result = run(project, body, "--lockjaw-engine", "real")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["lockjaw: engine real"])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--lockjaw-engine", "steam"), "--lockjaw-engine: expected one of "),
        (("--lockjaw-seeds", "0"), "expected a whole number of seeds, 1 or more, got '0'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(project: pytest.Pytester, option: tuple[str, str], said: str) -> None:
    result = run(project, "def test_it(): ...", *option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()


def test_a_run_that_had_to_hold_raises_and_one_that_need_not_returns(project: pytest.Pytester) -> None:
    body = """
def test_returns(lockjaw_run):
    assert str(lockjaw_run("gateway_timeout", policy="reuse-session").verdict) == "VIOLATED"

def test_raises(lockjaw_run):
    with pytest.raises(AssertionError, match="never_session_locked"):
        lockjaw_run("gateway_timeout", policy="reuse-session", must_hold=True)
"""
    run(project, body).assert_outcomes(passed=2)


QUIET = """
story: Nothing goes wrong.
message: hello
chain: [p/m]
models: {m: [{text: "Hi."}]}
checks: [answered]
sometimes:
  - says: the gateway was killed
    seen: {op: nemesis, phase: info, data: {action: kill}}
"""


@pytest.mark.real
def test_pytest_makes_the_runs_of_its_tests_on_a_cluster(pytester: pytest.Pytester) -> None:
    pytest.importorskip("distributed", reason="pip install 'lockjaw[cluster]'")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.lockjaw("gateway_timeout", policy="takeover")
        def test_holds(): ...

        @pytest.mark.lockjaw("gateway_timeout", policy="reuse-session")
        def test_does_not(): ...
        """
    )
    flags = ("--lockjaw-cluster", "local:2", "--lockjaw-seeds", "2", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*flags)
    result.assert_outcomes(passed=2, failed=2)
    result = pytester.runpytest_subprocess("--lockjaw-cluster", "host:1", "-p", "no:cacheprovider")
    result.stderr.fnmatch_lines(["*tcp://HOST:PORT*"])
