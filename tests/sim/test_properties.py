"""Random traces with bursts, ramps, gaps, jumps of the service time and outages keep every invariant."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaler.core.decide import WorkerClass
from scaler.core.policy import Behavior
from scaler.sim.controllers import CONTROLLERS, ControllerSpec, Scaler
from scaler.sim.hpa import Metric
from scaler.sim.readings import Meter
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

MakeTrace = Callable[..., Trace]
MakeClass = Callable[..., WorkerClass]

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

DURATION = 1200


def seconds(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda value: f"{value}s")


@st.composite
def arrivals(draw: st.DrawFn) -> list[dict[str, Any]]:
    times = sorted(draw(st.lists(st.integers(0, DURATION - 200), min_size=1, max_size=4, unique=True)))
    found: list[dict[str, Any]] = []
    for at, later in pairwise([*times, DURATION]):
        entry: dict[str, Any] = {"at": f"{at}s", "rate": draw(st.sampled_from([0, 0.05, 0.5, 2, 6]))}
        if draw(st.booleans()):
            entry |= {"to": draw(st.sampled_from([0, 1, 8])), "until": f"{later}s"}
        found.append(entry)
    for _ in range(draw(st.integers(0, 2))):
        burst: dict[str, Any] = {
            "at": draw(seconds(0, DURATION - 1)),
            "burst": draw(st.integers(1, 300)),
            "over": draw(seconds(0, 30)),
        }
        if draw(st.booleans()):
            burst["countdown"] = draw(seconds(0, 300))
        found.append(burst)
    return found


faults = st.lists(
    st.builds(
        lambda at, duration, kind: {"at": at, "duration": duration, "kind": kind},
        seconds(0, DURATION),
        seconds(0, 200),
        st.sampled_from(["broker-dark", "broker-down", "workers-lost", "metrics-stale", "counters-reset"]),
    ),
    max_size=3,
)
specs = st.fixed_dictionaries(
    {
        "duration": st.just(f"{DURATION}s"),
        "seed": st.integers(0, 1000),
        "arrivals": arrivals(),
        "serviceTime": st.lists(
            st.builds(
                lambda mean, cv: {"mean": mean, "cv": cv}, seconds(1, 40), st.sampled_from([0, 0.5, 2])
            ),
            min_size=1,
            max_size=2,
        ).map(lambda rules: [rule | {"at": f"{300 * index}s"} for index, rule in enumerate(rules)]),
        "startupTime": seconds(0, 60),
        "faults": faults,
        "readings": st.fixed_dictionaries(
            {
                "broker": st.sampled_from(["rabbitmq", "redis"]),
                "heartbeats": st.booleans(),
                "heartbeatsLost": st.sampled_from([0.0, 0.5]),
            }
        ),
    },
    optional={
        "failures": st.just({"at": "100s", "duration": "300s", "share": 0.5, "backoff": "5s"}),
        "poison": st.just({"at": "60s", "count": 3, "seconds": 600}),
    },
)
workers = st.fixed_dictionaries(
    {
        "acksLate": st.booleans(),
        "prefetchMultiplier": st.sampled_from([0, 1, 4]),
        "limits": st.sampled_from(
            [
                {},
                {"maxLength": 100, "overflow": "reject-publish"},
                {"maxLength": 100, "messageTtl": "120s"},
            ]
        ),
        "behavior": st.just(
            {
                "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
                "scaleDown": {
                    "stabilizationWindowSeconds": 120,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 90}],
                },
            }
        ),
    }
)


@quick
@given(spec=specs, worker=workers, name=st.sampled_from(sorted(CONTROLLERS)))
def test_every_task_ends_in_one_place(
    spec: dict[str, Any], worker: dict[str, Any], name: str, make_trace: MakeTrace, make_class: MakeClass
) -> None:
    report = simulate(make_trace(**spec), make_class(**worker), CONTROLLERS[name])
    ends = report.completed + report.rejected + report.expired + report.lost + report.unfinished
    assert report.offered == ends
    counts = (report.completed, report.rejected, report.expired, report.lost, report.unfinished)
    assert min(counts) >= 0
    assert report.lost == 0 or not worker["acksLate"]
    assert report.lost <= report.killed


class Watched(Scaler):
    """Our controller, with each tick checked."""

    def __init__(self, subject: WorkerClass) -> None:
        super().__init__(subject)
        self.seen: list[tuple[float, int]] = []

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        before = self.decision.desired if self.decision is not None else None
        super().tick(meter, fleet, spec)
        decision = self.decision
        assert decision is not None
        replicas = self.subject.worker.replicas
        assert replicas.min <= decision.desired <= replicas.max
        if before is not None and decision.desired < before:
            assert decision.quality == "fresh"
            assert meter.world.now - (meter.swept_at or 0.0) < 15
        if before != decision.desired:
            self.seen.append((meter.world.now, decision.desired))

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        metric = super().metric(meter, fleet)
        assert metric is None or metric.total >= self.subject.worker.replicas.min
        return metric


def moved(seen: list[tuple[float, int]], now: float, period: float, sign: int) -> int:
    """Replicas that were added (or removed) within the period before `now`, `now` included."""
    changes = [(at, after - before) for (_, before), (at, after) in pairwise(seen)]
    return sum(max(0, sign * change) for at, change in changes if now - period < at <= now)


@quick
@given(spec=specs, worker=workers)
def test_our_decisions_keep_bounds_limits_and_never_step_down_blindly(
    spec: dict[str, Any], worker: dict[str, Any], make_trace: MakeTrace, make_class: MakeClass
) -> None:
    made: list[Watched] = []

    def make(subject: WorkerClass) -> Watched:
        made.append(Watched(subject))
        return made[-1]

    simulate(make_trace(**spec), make_class(**worker), ControllerSpec("watched", "", "", make))
    rules = Behavior.model_validate_json(json.dumps(worker["behavior"]))
    up, down = rules.scale_up.policies[0], rules.scale_down.policies[0]
    seen = made[0].seen
    for now, _ in seen:
        given_back = moved(seen, now, up.period_seconds, -1)
        assert moved(seen, now, up.period_seconds, +1) <= up.value + given_back
        taken_back = moved(seen, now, down.period_seconds, +1)
        assert moved(seen, now, down.period_seconds, -1) <= down.value + taken_back


@pytest.mark.parametrize("name", ["scaler", "keda-rabbitmq-slots", "knative-kpa"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
def test_repeating_a_random_trace_gives_the_same_bytes(
    name: str, spec: dict[str, Any], make_trace: MakeTrace, make_class: MakeClass
) -> None:
    first, second = (
        simulate(make_trace(**spec), make_class(), CONTROLLERS[name]).to_text() for _ in range(2)
    )
    assert first == second
