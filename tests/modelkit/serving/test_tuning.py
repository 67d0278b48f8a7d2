"""Choosing a runtime: what is measured, what passes, and why one is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from modelkit.serving import engines
from modelkit.serving.agent.tuning import candidates, choose
from modelkit.serving.plan import Candidate, Goal, Runtime
from tests.modelkit.serving.toys import PLUGIN, Host, make_bundle, revision, running, wait_until


def row(
    engine: str, *, p50_ms: float = 5.0, rate: float = 100.0, memory_mb: int = 300, passes: bool = True
) -> Candidate:
    return Candidate(
        runtime=Runtime(engine=engine), p50_ms=p50_ms, texts_per_s=rate, memory_mb=memory_mb, passes=passes
    )


def test_each_goal_takes_the_best_of_those_that_pass() -> None:
    rows = [
        row("onnxruntime", p50_ms=5.0, rate=100, memory_mb=300),
        row("quick", p50_ms=3.0, rate=90, memory_mb=500),
        row("broad", p50_ms=6.0, rate=200, memory_mb=400),
        row("small", p50_ms=9.0, rate=50, memory_mb=100),
        row("wrong", p50_ms=1.0, rate=999, memory_mb=1, passes=False),
    ]
    chosen: dict[Goal, str] = {"latency": "quick", "throughput": "broad", "exact": "quick", "memory": "small"}
    for goal, engine in chosen.items():
        tuning = choose(goal, rows)
        assert tuning.runtime.engine == engine
        assert engine in tuning.reason


def test_the_reason_names_the_precision_as_the_table_does() -> None:
    for goal in ("latency", "throughput", "memory"):
        assert "onnxruntime (as it is)" in choose(goal, [row("onnxruntime")]).reason


def test_the_default_stays_unless_another_is_clearly_better() -> None:
    assert choose("latency", [row("onnxruntime", p50_ms=5.0), row("other", p50_ms=4.9)]).chosen == 0
    assert choose("latency", [row("onnxruntime", p50_ms=5.0), row("other", p50_ms=4.0)]).chosen == 1


def test_the_default_stays_where_nothing_passes() -> None:
    tuning = choose("latency", [row("onnxruntime", passes=False), row("other", passes=False)])
    assert tuning.chosen == 0
    assert "None of 2" in tuning.reason


def test_the_default_is_measured_first_and_exact_leaves_out_what_rounds() -> None:
    for goal in ("latency", "throughput", "exact", "memory"):
        found = candidates(goal, threads=2)
        assert found[0].engine == "onnxruntime"
        assert len(set(found)) == len(found)
    assert {runtime.precision for runtime in candidates("exact", threads=2)} == {"as_is"}
    assert {runtime.slots for runtime in candidates("memory", threads=2)} == {1}
    assert {runtime.engine for runtime in candidates("latency", threads=2)} == {
        name for name in engines.names() if engines.precisions(name)
    }


def test_a_model_that_answers_otherwise_does_not_pass(tmp_path: Path) -> None:
    make_bundle(tmp_path / "drifted", bias=2.0, golden_bias=0.0)
    arguments = ["--bundle", str(tmp_path / "drifted"), "--runtime", Runtime(slots=2).model_dump_json()]
    command = [sys.executable, "-m", "modelkit.serving.tune", *arguments, "--seconds", "0.1"]
    environment = {**os.environ, "TUNEYARD_PLUGINS": str(PLUGIN)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found = Candidate.model_validate_json(done.stdout)
    assert not found.passes
    assert "golden answers agree" in found.reason


def test_a_goal_is_measured_before_the_revision_goes_live_and_its_table_is_reported(host: Host, first: Path) -> None:
    wanted = revision(1, first).model_copy(update={"goal": "latency"})
    host.apply(running("intents", wanted))
    host.wait_for("intents", "live")
    tuning = host.revision("intents").tuning
    assert tuning is not None
    assert tuning.goal == "latency"
    assert tuning.runtime.engine == "onnxruntime"
    default, *others = tuning.candidates
    assert default.passes
    assert default.p50_ms > 0
    assert default.texts_per_s > 0
    assert default.golden is not None
    # The toy has no graph for another engine.
    assert all(not other.passes and "cannot run this model" in other.reason for other in others)
    assert host.predict("intents").status_code == 200


def test_a_runtime_given_is_taken_without_measuring(host: Host, first: Path) -> None:
    fixed = {"runtime": Runtime(slots=1, max_batch=4), "goal": "latency"}
    host.apply(running("intents", revision(1, first).model_copy(update=fixed)))
    host.wait_for("intents", "live")
    assert host.revision("intents").tuning is None
    assert "max_batch=4" in host.paths.log("ws1", "intents", 1).read_text()


def test_an_engine_that_is_not_here_fails_the_revision_by_name(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first).model_copy(update={"runtime": Runtime(engine="warp_drive")})))
    seen = host.wait_for("intents", "failed")
    assert "no engine warp_drive" in seen.revisions[0].reason


def test_measuring_that_nobody_waits_for_any_more_ends_by_itself(tmp_path: Path) -> None:
    make_bundle(tmp_path / "stuck", load_s=3600)
    program = (
        "from modelkit.serving import tune; tune.END_S = 1; "
        f"tune.main(['--bundle', {str(tmp_path / 'stuck')!r}, '--runtime', '{{}}'])"
    )
    environment = {**os.environ, "TUNEYARD_PLUGINS": str(PLUGIN)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False)
    assert ended.returncode == -signal.SIGALRM


def measuring(host: Host) -> psutil.Process | None:
    """The process that measures for the agent, if there is one."""
    assert host.agent is not None
    children = psutil.Process(host.agent.pid).children()
    return next((child for child in children if "modelkit.serving.tune" in child.cmdline()), None)


def test_a_candidate_whose_measuring_was_killed_is_measured_again(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first).model_copy(update={"goal": "latency"})))
    wait_until(lambda: measuring(host), what="the measuring").kill()
    host.wait_for("intents", "live")
    tuning = host.revision("intents").tuning
    assert tuning is not None
    assert tuning.candidates[0].passes, tuning.candidates[0].reason
    assert "ended by signal 9" in host.agent_log()


def test_measuring_ends_with_the_agent_that_asked_for_it(host: Host, tmp_path: Path) -> None:
    make_bundle(tmp_path / "slow", load_s=3600)
    host.apply(running("slow", revision(1, tmp_path / "slow").model_copy(update={"goal": "latency"})))
    child = wait_until(lambda: measuring(host), what="the measuring")
    host.kill_agent()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the end of measuring")
    host.start_agent()
    host.apply()
    wait_until(lambda: host.endpoint("slow") is None, what="the removal")
    assert measuring(host) is None
