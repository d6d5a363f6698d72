"""The promises of the decision, each for every input, order and fault that Hypothesis finds.

The seventh (asking changes nothing) is about the service and is played in tests/api.

A story is a list of ticks: what the broker shows (or that it shows nothing), how much time
passed, and whether the service was restarted with or without its state in between.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.observation import Holds, Observation, QueueReading, WorkerReport
from scaler.core.override import Override
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState

START = 1_800_000_000.0


@dataclass(frozen=True)
class Tick:
    """One tick of a story."""

    after: float
    ready: int
    unacked: int | None
    eta_held: int | None
    consumers: int | None
    #: Seconds since the reading was taken; None: nothing could be read since the start.
    age: float | None
    alarm: bool
    exists: bool
    restart: str
    replicas: int | None
    #: (busy slots, tasks started, seconds since its last heartbeat) of each worker; None: no events.
    workers: tuple[tuple[int, int, float], ...] | None
    wait: tuple[float, float] | None
    due: int
    ended: int | None


ticks = st.builds(
    Tick,
    after=st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 5.0, 15.0, 59.0, 61.0, 400.0, 900.0]),
    ready=st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 100_000)),
    unacked=st.one_of(st.none(), st.just(0), st.integers(0, 3000)),
    eta_held=st.one_of(st.none(), st.just(0), st.integers(0, 100)),
    consumers=st.one_of(st.none(), st.integers(0, 12)),
    age=st.one_of(
        st.just(0.0), st.just(0.0), st.sampled_from([3.0, 14.9, 15.0, 40.0, 60.0, 61.0, 5000.0, None])
    ),
    alarm=st.integers(0, 9).map(lambda n: n == 0),
    exists=st.integers(0, 9).map(lambda n: n > 0),
    restart=st.sampled_from(["no", "no", "no", "no", "no", "with state", "without state"]),
    replicas=st.one_of(st.none(), st.integers(0, 30)),
    workers=st.one_of(
        st.none(),
        st.none(),
        st.lists(
            st.tuples(st.integers(0, 200), st.integers(0, 5000), st.sampled_from([0.0, 1.0, 2.0, 40.0])),
            max_size=4,
        ).map(tuple),
    ),
    wait=st.sampled_from([None, None, (0.0, 0.0), (3.0, 4.0), (10.0, math.inf), (900.0, 905.0)]),
    due=st.sampled_from([0, 0, 5, 2000]),
    ended=st.one_of(st.none(), st.integers(0, 10_000)),
)
stories = st.lists(ticks, min_size=1, max_size=40)


@st.composite
def classes(draw: st.DrawFn) -> WorkerClass:
    steps = st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 200),
            "periodSeconds": st.sampled_from([1, 15, 60, 120, 600, 1800]),
        }
    )
    side = st.fixed_dictionaries(
        {
            "stabilizationWindowSeconds": st.sampled_from([0, 60, 300, 900]),
            "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
            "policies": st.lists(steps, min_size=1, max_size=2),
        }
    )
    low = draw(st.integers(0, 4))
    pool = draw(st.sampled_from(["prefork", "threads", "gevent"]))
    fields: dict[str, Any] = {
        "queues": ["email"],
        "pool": pool,
        "concurrency": draw(st.sampled_from([1, 4, 16, 200])),
        "acksLate": draw(st.booleans()),
        "serviceTime": draw(st.sampled_from(["100ms", "1.5s", "18s", "1h"])),
        "startupTime": draw(st.sampled_from(["0s", "45s", "10m"])),
        "objective": {
            "wait": draw(st.sampled_from(["1s", "30s", "10m"])),
            "utilization": draw(st.sampled_from([0.5, 0.85, 1.0])),
            "patience": draw(st.sampled_from([0.0, 0.7])),
        },
        "replicas": {"min": low, "max": low + draw(st.integers(1, 30))},
        "hpaTolerance": draw(st.sampled_from([0, 0, 0.1])),
        "limits": {"maxLength": draw(st.sampled_from([10, 5000]))},
        "behavior": {"scaleUp": draw(side), "scaleDown": draw(side)},
    }
    if draw(st.booleans()):
        fields["schedule"] = [{"cron": "*/10 * * * *", "duration": "5m", "minReplicas": 1}]
    return WorkerClass("p", "io", WorkerPolicy.model_validate_json(json.dumps(fields)))


@dataclass(frozen=True)
class Played:
    """One tick with what it led to."""

    tick: Tick
    now: float
    before: WorkerState
    observation: Observation
    after: WorkerState
    decision: Decision
    fresh_start: bool


def see(tick: Tick, now: float) -> Observation:
    if tick.age is None:
        return Observation(None, error="connection refused")
    eta_held = (
        min(tick.eta_held, tick.unacked) if tick.eta_held is not None and tick.unacked is not None else None
    )
    queue = QueueReading(
        "email",
        ready=tick.ready if tick.exists else 0,
        unacked=tick.unacked if tick.exists else 0,
        eta_held=eta_held if tick.exists else 0,
        consumers=tick.consumers,
        exists=tick.exists,
        wait=tick.wait,
        due=((now + 30.0, tick.due),) if tick.due else (),
        held_since=(now - 500.0,) if tick.unacked else (),
        holds=None if tick.ended is None else Holds(tick.ended * 1.7, tick.ended),
    )
    workers = None
    if tick.workers is not None:
        workers = tuple(
            WorkerReport(f"io@{number}", now - silence, 2.0, START, active, processed, now - silence)
            for number, (active, processed, silence) in enumerate(tick.workers)
        )
    alarms = ("memory alarm",) if tick.alarm else ()
    return Observation(
        now - tick.age, (queue,), suspicions=alarms, replicas_current=tick.replicas, workers=workers
    )


def play(subject: WorkerClass, story: list[Tick]) -> list[Played]:
    state, now, played = WorkerState(), START, []
    fresh_start = True
    for tick in story:
        now += tick.after
        if tick.restart == "with state":
            state = WorkerState.from_json(state.to_json())
        elif tick.restart == "without state":
            state, fresh_start = WorkerState(), True
        observation = see(tick, now)
        after, decision = decide(subject, state, observation, now)
        played.append(Played(tick, now, state, observation, after, decision, fresh_start))
        fresh_start = after.desired is None
        state = after
    return played


@given(classes(), stories)
def test_1_desired_is_an_integer_between_min_and_max(subject: WorkerClass, story: list[Tick]) -> None:
    bounds = subject.worker.replicas
    for step in play(subject, story):
        assert type(step.decision.desired) is int
        assert bounds.min <= step.decision.desired <= bounds.max


@given(classes(), stories)
def test_2_no_policy_period_sees_more_change_than_the_hpa_would_allow(
    subject: WorkerClass, story: list[Tick]
) -> None:
    """Counted from the outside, over the decisions alone, without the limiter's own memory."""
    rules = subject.worker.behavior
    moves: list[tuple[float, int]] = []
    for step in play(subject, story):
        change = step.decision.desired - step.decision.previous
        if step.fresh_start:
            moves = []
        side, sign = (rules.scale_up, 1) if change > 0 else (rules.scale_down, -1)
        # From 0 KEDA starts the first pod, without asking the HPA's rules.
        first = step.decision.previous == 0 and step.decision.desired == 1
        if change and not first and step.before.desired is not None and step.decision.quality != "blind":
            assert side.select_policy != "Disabled"
            reach = []
            for policy in side.policies:
                start = step.decision.previous - sum(
                    n for at, n in moves if step.now - at < policy.period_seconds
                )
                if policy.type == "Pods":
                    reach.append(start + sign * policy.value)
                else:
                    exact = start * (1 + sign * policy.value / 100)
                    reach.append(math.ceil(exact) if sign > 0 else int(exact))
            farthest = max(reach) if (sign > 0) == (side.select_policy == "Max") else min(reach)
            assert sign * step.decision.desired <= sign * farthest
        if change:
            moves.append((step.now, change))


@given(classes(), stories)
def test_3_never_down_on_data_that_is_missing_stale_suspect_or_young(
    subject: WorkerClass, story: list[Tick]
) -> None:
    window = subject.worker.behavior.scale_down.stabilization_window_seconds
    guarded_until, blind = 0.0, False
    for step in play(subject, story):
        observation, decision = step.observation, step.decision
        sampled = observation.sampled_at
        good = sampled is not None and step.now - sampled < 15 and not observation.suspicions
        if step.fresh_start and decision.quality != "blind":
            guarded_until = max(guarded_until, step.now + window)
        if blind and decision.quality == "fresh":
            guarded_until, blind = max(guarded_until, step.now + window), False
        blind = blind or (decision.quality == "blind" and step.before.desired is not None)
        if decision.desired < decision.previous <= subject.worker.replicas.max:
            assert good
            assert step.now >= guarded_until


@given(classes(), stories, st.integers(1, 20))
def test_4_an_outage_lowers_nothing_and_turns_nothing_inactive(
    subject: WorkerClass, story: list[Tick], outage_ticks: int
) -> None:
    dark = Tick(
        after=7.0,
        ready=0,
        unacked=0,
        eta_held=0,
        consumers=0,
        age=None,
        alarm=False,
        exists=True,
        restart="no",
        replicas=None,
        workers=None,
        wait=None,
        due=0,
        ended=None,
    )
    lit = play(subject, [replace(tick, restart="no") for tick in story])
    whole = play(subject, [replace(tick, restart="no") for tick in story] + [dark] * outage_ticks)
    last = lit[-1].decision
    assume(lit[-1].after.desired is not None)
    for step in whole[len(lit) :]:
        assert step.decision.desired >= last.desired
        assert step.decision.active or not last.active
    # Nothing was ever seen: nobody may conclude that there is nothing.
    unseen = play(subject, [dark] * outage_ticks)
    assert all(step.decision.active and step.decision.quality == "blind" for step in unseen)


@given(classes(), stories)
def test_5_active_while_there_is_work_or_more_than_min(subject: WorkerClass, story: list[Tick]) -> None:
    for step in play(subject, story):
        decision, queue = step.decision, step.observation.queues[0] if step.observation.queues else None
        if decision.desired > subject.worker.replicas.min and decision.quality != "blind":
            assert decision.active
        if queue is None or decision.quality == "blind":
            continue
        certainly_due = (queue.unacked or 0) - (
            queue.eta_held if queue.eta_held is not None else (queue.unacked or 0)
        )
        if queue.ready or certainly_due:
            assert decision.active
        if queue.unacked is None and queue.consumers != 0:
            assert decision.active, "running tasks can't be seen, so they can't be ruled out"


@given(classes(), stories)
def test_6_the_same_inputs_give_the_same_bytes_and_state_survives_json(
    subject: WorkerClass, story: list[Tick]
) -> None:
    for step in play(subject, story):
        thawed = WorkerState.from_json(step.before.to_json())
        assert thawed == step.before
        state, decision = decide(subject, thawed, step.observation, step.now)
        assert decision.to_json() == step.decision.to_json()
        assert state.to_json() == step.after.to_json()
        assert Decision.from_dict(json.loads(decision.to_json())) == decision
        assert decision.id == step.decision.id


@given(classes(), stories)
def test_8_every_decision_says_why(subject: WorkerClass, story: list[Tick]) -> None:
    for step in play(subject, story):
        decision = step.decision
        assert decision.winner in {term.name for term in decision.terms}
        assert all(term.formula for term in decision.terms)
        assert all(term.replicas is None or math.isfinite(term.replicas) for term in decision.terms)
        assert decision.active_because
        if decision.quality == "blind":
            assert decision.quality_reasons
            continue
        names = [term.name for term in decision.terms]
        assert names == ["steady", "drain", "surge", "fill", "resources", "floor"]
        assert decision.recommendation >= max(
            math.ceil((term.replicas or 0) - 1e-6) for term in decision.terms
        ) or (decision.recommendation == 1_000_000)
        if decision.desired != decision.recommendation:
            assert decision.limit != "none"
            assert decision.limit_detail
        if decision.next_step_at is not None:
            assert decision.next_step_at >= step.now - 1


@given(classes(), stories)
def test_9_policy_bounds_are_a_persons_order_and_win_even_when_blind(
    subject: WorkerClass, story: list[Tick]
) -> None:
    """What a person orders holds at the next tick, whatever the data; an order is never half done."""
    played = play(subject, story)
    lowered = subject.worker.model_copy(
        update={
            "replicas": subject.worker.replicas.model_copy(
                update={"max": max(1, subject.worker.replicas.min)}
            )
        }
    )
    state, decision = decide(
        replace(subject, worker=lowered), played[-1].after, Observation(None), played[-1].now + 1
    )
    assert decision.desired <= max(1, subject.worker.replicas.min)
    assert state.desired in (None, decision.desired)


orders = st.builds(
    Override,
    replicas=st.integers(0, 60),
    until=st.integers(1, 1500).map(lambda seconds: START + seconds),
    who=st.just("ops@examx"),
    why=st.just("exam brought forward"),
)


@given(classes(), stories, orders)
def test_9_an_order_wins_until_it_expires_and_says_who_and_why(
    subject: WorkerClass, story: list[Tick], order: Override
) -> None:
    """Over bounds, behavior, holds and blindness; afterwards the policy rules again, within its bounds."""
    state, now = WorkerState(override=order), START
    for tick in story:
        now += tick.after
        if tick.restart == "with state":
            state = WorkerState.from_json(state.to_json())
        state, decision = decide(subject, state, see(tick, now), now)
        if now < order.until:
            assert decision.desired == order.replicas
            assert decision.limit == "override"
            assert "ops@examx" in decision.limit_detail
            assert "exam brought forward" in decision.limit_detail
            assert len(state.history.added) + len(state.history.removed) <= 1
        else:
            assert decision.limit != "override"
            assert state.override is None
            assert subject.worker.replicas.min <= decision.desired <= subject.worker.replicas.max


@pytest.mark.parametrize(
    "broken", [{"replicas": -1}, {"replicas": 10_001}, {"until": math.inf}, {"who": " "}, {"why": ""}]
)
def test_9_no_order_without_an_end_a_sane_number_and_a_name(broken: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"replicas": 3, "until": START, "who": "ops", "why": "drill"}
    with pytest.raises(ValueError, match="an override needs"):
        Override(**(whole | broken))
