"""What is told of two decisions in a row: edges, once each."""

from dataclasses import replace
from typing import Any

from scaler.core.announcement import Announcement
from scaler.core.decision import Decision, Term
from scaler.core.news import changes, spikes

CALM = Decision(
    policy="examx",
    worker_class="io",
    decided_at=1000.0,
    desired=2,
    previous=2,
    recommendation=2,
    active=True,
    active_because="",
    quality="fresh",
    quality_reasons=(),
    terms=(Term("drain", 5.2, "400 tasks ÷ 30 s"),),
    winner="drain",
    limit="none",
    limit_detail="",
    next_step_at=None,
    sampled_at=999.0,
)


def told(**changed: Any) -> list[tuple[str, str, bool]]:
    return [(news.reason, news.text, news.warning) for news in changes(CALM, replace(CALM, **changed))]


def test_nothing_new_is_no_news() -> None:
    assert told(decided_at=1001.0, sampled_at=1000.0) == []


def test_a_step_says_from_where_to_where_and_why() -> None:
    detail = "6 wanted, 3 Pods per 60 s allows 5 now"
    limit: dict[str, Any] = {"limit": "scale-up-policy", "limit_detail": detail}
    assert told(desired=5, recommendation=6, **limit) == [
        (
            "DesiredReplicasRaised",
            f"io: 2 → 5 replicas, drain asks for 6 (400 tasks ÷ 30 s); limit scale-up-policy: {detail}",
            False,
        ),
        ("BurstPolicyBinds", f"io: {detail}", False),
    ]
    assert told(desired=1, recommendation=1)[0][0] == "DesiredReplicasLowered"


def test_max_and_a_scale_in_that_waits_are_told_at_their_edge() -> None:
    at_max = replace(CALM, limit="max", limit_detail="9 wanted, max is 5")
    assert [news.reason for news in changes(CALM, at_max)] == ["MaxReplicasReached"]
    assert list(changes(at_max, replace(at_max, decided_at=1001.0, limit_detail="10 wanted, max is 5"))) == []
    assert told(limit="running", limit_detail="1 needed, but what workers hold fills 2 pods") == [
        ("ScaleInWaits", "io: 1 needed, but what workers hold fills 2 pods", False)
    ]


def test_a_step_down_that_waits_for_tasks_is_told_when_it_begins_and_when_it_ends() -> None:
    detail = "3 needed, but the pods that would go run tasks of 20 min, longer than their 30 s of grace"
    waits = replace(CALM, limit="draining", limit_detail=detail, waiting_since=1000.0)
    announced: dict[str, Any] = {
        "limit": "draining",
        "limit_detail": "1 are announced",
        "stepping_down_to": 1,
    }
    assert [news[1] for news in told(**announced, waiting_since=1000.0)] == [
        "io: a step down waits for tasks that the grace period would kill"
    ], "a part of it"
    assert told(**announced) == [], "an announced step is told when it is made"
    later = replace(waits, decided_at=1600.0, limit_detail="2 needed, but …")
    assert [(news.reason, news.text, news.warning) for news in changes(CALM, waits)] == [
        ("ScaleInWaits", f"io: {detail}", True)
    ]
    assert list(changes(waits, later)) == []
    assert list(changes(later, replace(later, limit="scale-down-policy", limit_detail="…"))) == [], (
        "it waits all the same while another limit binds"
    )
    over = replace(CALM, decided_at=1660.0)
    (ended,) = changes(later, over)
    assert (ended.reason, ended.warning) == ("ScaleInWaited", False)
    assert ended.text == "io: it is over after a wait of 11 min for running tasks"
    assert [
        news.text for news in changes(later, replace(over, desired=1)) if news.reason == "ScaleInWaited"
    ] == ["io: the step down to 1 was made after a wait of 11 min for running tasks"]


def test_hold_and_blind_begin_and_end() -> None:
    hold = replace(CALM, quality="hold", quality_reasons=("the reading is 20 s old",))
    blind = replace(hold, quality="blind", quality_reasons=("broker main: can't reach it",))
    (first,) = changes(CALM, hold)
    (second,) = changes(hold, blind)
    (third,) = changes(blind, CALM)
    assert (first.reason, first.warning) == ("DataOnHold", True)
    assert "20 s old" in first.text
    assert (second.reason, second.warning) == ("DataBlind", True)
    assert "replicas stay at 2: broker main" in second.text
    assert (third.reason, third.warning) == ("DataFresh", False)


def test_the_first_reading_after_a_start_is_no_news() -> None:
    never = replace(CALM, quality="blind", sampled_at=None)
    assert list(changes(never, CALM)) == []


def test_an_order_begins_and_ends() -> None:
    order: dict[str, Any] = {"limit": "override", "limit_detail": "7 ordered by ops until 10:00: drill"}
    ordered = replace(CALM, desired=7, **order)
    assert [news.reason for news in changes(CALM, ordered)] == ["DesiredReplicasRaised", "OverrideBegins"]
    ends = list(changes(ordered, CALM))
    assert [news.reason for news in ends] == ["DesiredReplicasLowered", "OverrideEnds"]
    assert "7 ordered by ops" in ends[1].text


def test_a_hindrance_is_told_once_whatever_its_details() -> None:
    first = replace(CALM, hindrances=("HPA x: ScalingActive is False: FailedGetExternalMetric: try 1",))
    later = replace(CALM, hindrances=("HPA x: ScalingActive is False: FailedGetExternalMetric: try 2",))
    assert [(news.reason, news.warning) for news in changes(CALM, first)] == [("NotCarriedOut", True)]
    assert list(changes(first, later)) == []
    assert [news.reason for news in changes(later, CALM)] == ["HindranceGone"]


def test_a_spike_is_announced_begins_and_ends() -> None:
    spike = Announcement(2000.0 + 1e6, 3000.0 + 1e6, "ops", "exam", tasks=500)
    early, during, over = 1e6, 2000.0 + 1e6, 3000.0 + 1e6

    def reasons(before: Any, after: Any, *moments: float) -> list[str]:
        return [news.reason for news in spikes(before, after, "io", (moments[0], moments[1]))]

    assert reasons((), (spike,), early, early + 1) == ["SpikeAnnounced"]
    assert reasons((spike,), (spike,), early, early + 1) == []
    assert reasons((spike,), (spike,), during - 1, during) == ["SpikeBegins"]
    assert reasons((spike,), (spike,), during, during + 1) == []
    assert reasons((spike,), (), over - 1, over) == ["SpikeEnds"]
    assert reasons((spike,), (), early, early + 1) == ["SpikeWithdrawn"]
