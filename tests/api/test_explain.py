"""What a person reads who asks "why this number?"."""

import json
from dataclasses import replace

import pytest

from scaler.core.decision import Decision, Term
from scaler.core.explain import explain

#: 2026-11-24 08:50:01 UTC.
NOW = 1_795_510_201.0

BURST = Decision(
    policy="examx",
    worker_class="io",
    decided_at=NOW - 0.4,
    desired=4,
    previous=1,
    recommendation=8,
    active=True,
    active_because="4000 wait, 0 run",
    quality="fresh",
    quality_reasons=(),
    terms=(
        Term("steady", 0.25, "3.5 tasks/s × 12 s = 42 busy slots, ÷ 0.85 ÷ 200 slots per pod = 0.25"),
        Term("drain", 7.52, "backlog 4000 × 12 s ÷ 30 s = 1600 slots ÷ 200 slots per pod = 7.52"),
        Term("fill", None, "the policy sets no maxLength"),
        Term("floor", 1.0, "replicas.min 1"),
    ),
    winner="drain",
    limit="scale-up-policy",
    limit_detail="8 wanted, 3 pods per 60 s allows 4 now",
    next_step_at=NOW + 58.2,
    sampled_at=NOW - 1.25,
    ready=4000,
    running=(0, 200),
    backlog=(4000, 4200),
)


def test_a_burst_that_the_policy_holds_back() -> None:
    assert explain(BURST, NOW, (1, 5)) == (
        "io: 4 replicas (was 1), recommendation 8 from drain",
        "    steady     0.25  3.5 tasks/s × 12 s = 42 busy slots, ÷ 0.85 ÷ 200 slots per pod = 0.25",
        "  → drain      7.52  backlog 4000 × 12 s ÷ 30 s = 1600 slots ÷ 200 slots per pod = 7.52",
        "    fill          –  the policy sets no maxLength",
        "    floor      1.00  replicas.min 1",
        "  limit:   scale-up-policy: 8 wanted, 3 pods per 60 s allows 4 now",
        "  next:    step allowed at 2026-11-24 08:50:59 UTC, in 58 s",
        "  data:    fresh",
        "  active:  yes: 4000 wait, 0 run",
        "  reading: 4000 ready, 0–200 running, 4000–4200 backlog, read 1.2 s ago",
        "  decided: 2026-11-24 08:50:00 UTC, 0.4 s ago",
        "  policy:  examx, min 1, max 5",
    )


def test_a_step_down_is_announced_and_one_that_waits_says_for_how_long() -> None:
    costs = (("io-a", 0), ("io-b", 340), ("io-c", 0))
    announced = replace(BURST, stepping_down_to=1, costs=costs)
    line = "  drain:   step down to 1 within seconds"
    assert line in explain(replace(announced, costs=()), NOW, (1, 5))
    assert f"{line}; of 3 pods 2 are idle and go first, the busiest costs 340" in explain(
        announced, NOW, (1, 5)
    )
    waits = replace(BURST, limit="draining", waiting_since=NOW - 620)
    assert "  drain:   a step down has waited for 10 min 20 s for tasks that it would kill" in explain(
        waits, NOW, (1, 5)
    )


def test_a_hold_on_data_that_isnt_fresh() -> None:
    decision = replace(
        BURST,
        desired=4,
        previous=4,
        recommendation=4,
        winner="floor",
        terms=(Term("floor", 1.0, "replicas.min 1"),),
        quality="hold",
        quality_reasons=("the last reading is 20 s old", "broker main: connection refused"),
        limit="data",
        limit_detail="1 needed, but never down on data that isn't fresh",
        next_step_at=None,
        sampled_at=NOW - 20,
        running=None,
        backlog=None,
        gaps=("unacked can't be seen over AMQP: set managementUrl",),
    )
    assert explain(decision, NOW, (1, 5)) == (
        "io: 4 replicas (was 4), recommendation 4 from floor",
        "  → floor     1.00  replicas.min 1",
        "  limit:   data: 1 needed, but never down on data that isn't fresh",
        "  next:    no step before the data is fresh again",
        "  data:    hold: the last reading is 20 s old; broker main: connection refused",
        "  gap:     unacked can't be seen over AMQP: set managementUrl",
        "  active:  yes: 4000 wait, 0 run",
        "  reading: 4000 ready, unknown running, unknown backlog, read 20 s ago",
        "  decided: 2026-11-24 08:50:00 UTC, 0.4 s ago",
        "  policy:  examx, min 1, max 5",
    )


def test_blind() -> None:
    decision = replace(
        BURST,
        desired=1,
        previous=1,
        recommendation=1,
        winner="last",
        terms=(Term("last", 1.0, "the last decision stands while nothing can be read"),),
        quality="blind",
        quality_reasons=("nothing has been read from the broker yet",),
        limit="data",
        limit_detail="KEDA is told UNAVAILABLE, so that the HPA keeps the replicas",
        next_step_at=None,
        active=False,
        active_because="blind: as it was",
        sampled_at=None,
        ready=None,
        running=None,
        backlog=None,
    )
    assert explain(decision, NOW, (0, 5)) == (
        "io: 1 replica (was 1), recommendation 1 from last",
        "  → last     1.00  the last decision stands while nothing can be read",
        "  limit:   data: KEDA is told UNAVAILABLE, so that the HPA keeps the replicas",
        "  next:    no step before the data is fresh again",
        "  data:    blind: nothing has been read from the broker yet",
        "  active:  no: blind: as it was",
        "  reading: nothing has been read yet",
        "  decided: 2026-11-24 08:50:00 UTC, 0.4 s ago",
        "  policy:  examx, min 0, max 5",
    )


def lines(decision: Decision, label: str) -> list[str]:
    return [line for line in explain(decision, NOW, (1, 5)) if line.startswith(f"  {label}:")]


def test_nothing_is_said_of_a_next_step_once_the_recommendation_is_reached() -> None:
    reached = replace(BURST, desired=8, limit="none", limit_detail="", next_step_at=None)
    assert lines(reached, "next") == []
    assert lines(reached, "limit") == ["  limit:   none, the replicas follow the recommendation"]


def test_a_bound_that_time_wont_lift_is_named_as_such() -> None:
    capped = replace(BURST, desired=5, limit="max", limit_detail="8 wanted, max is 5", next_step_at=None)
    assert lines(capped, "next") == ["  next:    no step while max holds"]


def test_a_step_whose_time_has_come_is_due() -> None:
    due = replace(BURST, next_step_at=NOW - 0.5)
    assert lines(due, "next") == ["  next:    step allowed at 2026-11-24 08:50:00 UTC, due now"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.99, "10 s"),
        (58.4, "58 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (598, "9 min 58 s"),
        (3600, "1 h"),
        (3659, "1 h"),
        (7530, "2 h 5 min"),
    ],
)
def test_spans_are_told_in_two_units_at_the_most(seconds: float, words: str) -> None:
    assert lines(replace(BURST, next_step_at=NOW + seconds), "next")[0].endswith(f", in {words}")


def test_exact_readings_are_one_number_and_an_age_is_never_negative() -> None:
    decision = replace(BURST, running=(7, 7), backlog=(0, 0), sampled_at=NOW + 0.1)
    assert lines(decision, "reading") == [
        "  reading: 4000 ready, 7 running, 0 backlog, read 0.0 s ago",
    ]


def test_explaining_a_decision_that_came_back_from_json_says_the_same() -> None:
    again = Decision.from_dict(json.loads(BURST.to_json()))
    assert explain(again, NOW, (1, 5)) == explain(BURST, NOW, (1, 5))
