"""The ExamX io class on a time line: what is decided when, by which term, held by which limit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.observation import Observation, QueueReading
from scaler.core.state import StateError, WorkerState

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0


@dataclass
class Story:
    """Plays one class second by second and remembers what was decided."""

    subject: WorkerClass
    state: WorkerState = field(default_factory=WorkerState)
    now: float = T0
    decisions: list[Decision] = field(default_factory=list)

    def sees(
        self,
        ready: int = 0,
        *,
        unacked: int | None = 0,
        consumers: int | None = None,
        exists: bool = True,
        alarms: tuple[str, ...] = (),
    ) -> Observation:
        queues = (
            QueueReading("email", ready, unacked, 0 if unacked is not None else None, consumers, exists),
            QueueReading("api_calls", 0, 0 if unacked is not None else None, 0, consumers),
            QueueReading("file_uploads", 0, 0 if unacked is not None else None, 0, consumers),
        )
        return Observation(self.now, queues, suspicions=alarms)

    def tick(self, observation: Observation) -> Decision:
        self.state, decision = decide(self.subject, self.state, observation, self.now)
        self.decisions.append(decision)
        return decision

    def run(self, seconds: int, ready: int = 0, **kwargs: object) -> Decision:
        """One tick a second for so long, the same reading each time."""
        for _ in range(seconds):
            self.now += 1
            last = self.tick(self.sees(ready, **kwargs))  # type: ignore[arg-type]  # forwarded as they are
        return last

    def dark(self, seconds: int, error: str = "broker main: connection refused") -> Decision:
        """The last reading ages; nothing new arrives."""
        sampled = self.now
        last_seen = self.sees()
        for _ in range(seconds):
            self.now += 1
            last = self.tick(Observation(sampled, last_seen.queues, error=error))
        return last

    @property
    def steps(self) -> dict[int, int]:
        """Seconds since T0 of each change, and the replicas after it."""
        return {
            round(after.decided_at - T0): after.desired
            for before, after in pairwise(self.decisions)
            if after.desired != before.desired
        }


def test_a_dump_of_4000_slow_mails_goes_1_to_4_at_once_and_to_5_after_a_minute(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    story.run(10)
    first = story.run(1, ready=4000)
    story.run(120, ready=4000)
    assert story.steps == {11: 4, 71: 5}
    assert first.winner == "drain"
    assert "4000 × 12 s ÷ 30 s = 1600" in next(t.formula for t in first.terms if t.name == "drain")
    assert first.recommendation == 8
    assert first.limit == "scale-up-policy"
    assert "3 pods per 60 s" in first.limit_detail
    assert first.next_step_at == T0 + 71
    assert story.decisions[-1].limit == "max"


def test_the_same_dump_of_fast_mails_needs_one_pod_and_the_sum_says_so(io_class: Build) -> None:
    story = Story(io_class(serviceTime="1.5s"))
    story.run(10)
    decision = story.run(60, ready=4000)
    assert story.steps == {}
    drain = next(term for term in decision.terms if term.name == "drain")
    assert drain.replicas == pytest.approx(1.0)
    assert "4000 × 1.5 s ÷ 30 s = 200" in drain.formula
    assert decision.desired == 1


def test_after_the_dump_it_stays_15_minutes_then_goes_down_1_per_10_minutes(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    story.run(1)
    story.run(99, ready=4000)  # 1 -> 4 -> 5; the last second of load is +100
    story.run(3600)
    assert story.steps == {2: 4, 62: 5, 1000: 4, 1600: 3, 2200: 2, 2800: 1}


def test_a_sustained_flow_is_carried_by_the_steady_term_alone(io_class: Build) -> None:
    """300 busy slots (25/s × 12 s), nothing waits: 300 ÷ .85 ÷ 200 = 1.76 → 2 pods."""
    story = Story(io_class(serviceTime="12s"))
    decision = story.run(400, unacked=300, consumers=2)
    steady = next(term for term in decision.terms if term.name == "steady")
    assert decision.running == (300, 300)
    assert steady.replicas == pytest.approx(300 / 0.85 / 200, rel=0.02)
    assert (decision.winner, decision.desired) == ("steady", 2)


def test_a_queue_that_will_be_full_before_pods_start_asks_for_all_that_is_allowed(io_class: Build) -> None:
    """250/s need 6 pods in the long run, and with 10 min to wait there is no hurry — but for the limit."""
    patient = {"wait": "10m", "serviceLevel": 0.99, "utilization": 0.85}
    subject = io_class(
        limits={"maxLength": 5000}, serviceTime="4s", objective=patient, replicas={"min": 1, "max": 9}
    )
    story = Story(subject)
    for second in range(60):
        story.run(1, ready=200 * second, unacked=200, consumers=1)
    filling = [decision for decision in story.decisions if decision.winner == "fill"]
    assert filling
    assert filling[0].recommendation == 9
    assert "before new pods start" in next(t.formula for t in filling[0].terms if t.name == "fill")


@pytest.mark.parametrize(("growth", "seconds"), [(60, range(7, 18)), (200, range(18, 30))])
def test_a_queue_that_pods_can_still_keep_from_filling_gets_them_before_a_flow_is_told_from_a_dump(
    io_class: Build, growth: int, seconds: range
) -> None:
    """60/s too many: 4,000 wait after 66 s, and pods take 45 s. 200/s: after 20 s, too early for any."""
    patient = {"wait": "10m", "serviceLevel": 0.99, "utilization": 0.85}
    limits, replicas = {"maxLength": 5000}, {"min": 1, "max": 9}
    story = Story(io_class(limits=limits, serviceTime="4s", objective=patient, replicas=replicas))
    story.run(300, unacked=0, consumers=1)
    began = story.now
    for second in range(40):
        story.run(1, ready=growth * second, unacked=200, consumers=1)
    first = next(decision for decision in story.decisions if decision.winner == "fill")
    assert round(first.decided_at - began) in seconds


def test_a_dump_that_is_over_before_pods_start_orders_none(io_class: Build) -> None:
    """500 of 1.5 s on 10 slots are done in 75 s; a pod takes 120 s to start."""
    subject = io_class(concurrency=10, serviceTime="1.5s", startupTime="2m", objective={"wait": "30s"})
    story = Story(subject)
    story.run(300, unacked=0, consumers=1)
    assert story.run(1, ready=490, unacked=10, consumers=1).recommendation == 1


def test_more_than_all_pods_can_do_is_no_time_for_patience(io_class: Build) -> None:
    """6 a minute of 8 min each are 48 busy slots, and 3 pods have 12; the wait is far below its bound yet."""
    subject = io_class(
        concurrency=4,
        serviceTime="8m",
        objective={"wait": "30m", "serviceLevel": 0.99, "utilization": 0.85},
        replicas={"min": 1, "max": 3},
    )
    story = Story(subject)
    story.run(300, unacked=0, consumers=1)
    began = story.now
    for second in range(600):
        come = second // 10
        story.run(1, ready=max(0, come - 4), unacked=min(come, 4), consumers=1)
    full = next(decision for decision in story.decisions if decision.recommendation >= 3)
    assert full.decided_at - began < 300


def test_a_full_queue_that_no_longer_grows_is_no_reason_to_fill(io_class: Build) -> None:
    story = Story(io_class(limits={"maxLength": 5000}))
    decision = story.run(60, ready=4900)
    assert next(t for t in decision.terms if t.name == "fill").replicas is None


def test_a_pod_that_should_work_by_now_and_is_not_heard_does_not_work(io_class: Build) -> None:
    """Ordered 85 s ago, 45 s to start by the policy, and one consumer still: it isn't counted on."""
    subject = io_class(
        concurrency=10, serviceTime="1s", startupTime="45s", objective={"wait": "2m", "patience": 0.7}
    )
    decided = []
    for heard in (1, 2):
        story = Story(subject)
        story.run(300, ready=0, unacked=5, consumers=1)
        assert story.run(1, ready=850, unacked=10, consumers=1).desired == 2
        story.run(44, ready=850, unacked=10, consumers=1)
        story.run(40, ready=1320, unacked=10 * heard, consumers=heard)
        decided.append(story.decisions[-1].recommendation)
    assert decided[0] > decided[1]


def test_a_schedule_is_a_floor_within_its_window_and_the_burst_policy_still_holds(io_class: Build) -> None:
    windows = [
        {
            "cron": "0 9 * * *",
            "duration": "1h",
            "minReplicas": 5,
            "timezone": "UTC",
            "reason": "morning exams",
        }
    ]
    nine = T0 - T0 % 86400 + 9 * 3600
    story = Story(io_class(schedule=windows), now=nine - 10)
    story.run(120)
    inside = story.decisions[-1]
    changes = {
        round(b.decided_at - nine): b.desired for a, b in pairwise(story.decisions) if a.desired != b.desired
    }
    assert changes == {0: 4, 60: 5}
    assert inside.winner == "floor"
    assert "morning exams" in next(t.formula for t in inside.terms if t.name == "floor")
    story.now = nine + 3600
    assert story.run(1).recommendation == 1


def test_an_outage_holds_then_goes_blind_and_nothing_falls_for_a_window_afterwards(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    story.run(1)
    story.run(50, ready=4000)
    story.dark(14)
    assert story.decisions[-1].quality == "fresh"
    story.dark(1)
    held = story.dark(30)
    assert (held.quality, held.desired, held.active) == ("hold", held.previous, True)
    blind = story.dark(600)
    assert (blind.quality, blind.active) == ("blind", True)
    assert "connection refused" in " ".join(blind.quality_reasons)
    assert blind.desired == story.decisions[0].desired + 4 or blind.desired in {4, 5}
    peak, back = blind.desired, story.now
    story.run(899)
    assert story.decisions[-1].desired == peak
    assert story.decisions[-1].limit == "recovery"
    story.run(10)
    assert story.decisions[-1].desired == peak - 1
    assert story.now - back < 910


def test_up_is_allowed_while_holding(io_class: Build) -> None:
    """A suspect broker may still show a backlog that is certainly there."""
    story = Story(io_class(serviceTime="12s"))
    story.run(5)
    decision = story.run(1, ready=4000, alarms=("memory alarm on the broker",))
    assert (decision.quality, decision.desired) == ("hold", 4)
    lower = story.run(2000, ready=0, alarms=("memory alarm on the broker",))
    assert (lower.desired, lower.limit) == (4, "data")


def test_restart_without_history_adopts_what_is_running_and_holds_one_window(io_class: Build) -> None:
    story = Story(io_class())
    decision = story.run(1, consumers=4)
    assert (decision.previous, decision.desired, decision.limit) == (4, 4, "recovery")
    assert "started without history" in decision.limit_detail
    story.run(898, consumers=4)
    assert story.decisions[-1].desired == 4
    story.run(2, consumers=4)
    assert story.decisions[-1].desired == 3


def test_restart_with_history_goes_on_as_if_nothing_had_happened(io_class: Build) -> None:
    subject = io_class(serviceTime="12s")
    steady, restarted = Story(subject), Story(subject)
    for story in (steady, restarted):
        story.run(1)
        story.run(99, ready=4000)
        story.run(500)
    restarted.state = WorkerState.from_json(restarted.state.to_json())
    for story in (steady, restarted):
        story.run(2500)
    assert restarted.steps == steady.steps


def test_a_saved_state_that_is_old_or_from_the_future_never_leads_down(io_class: Build) -> None:
    for saved_at in (T0 - 7200, T0 + 7200):
        state = WorkerState(desired=5, active=True, decided_at=saved_at, sampled_at=saved_at)
        story = Story(io_class(), state=state)
        assert story.run(1).desired == 5
        assert story.run(880).desired == 5
        assert story.run(60).desired == 4


def test_a_queue_that_vanishes_is_suspect_for_a_window_and_one_that_never_was_is_not(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    new = story.run(5, exists=False)
    assert new.quality == "fresh"
    assert "doesn't exist yet" in " ".join(new.quality_reasons)
    story.run(100, ready=4000)
    gone = story.run(1, exists=False)
    assert (gone.quality, gone.desired) == ("hold", 5)
    story.run(898, exists=False)
    assert story.decisions[-1].desired == 5
    story.run(200, exists=False)
    assert story.decisions[-1].desired == 4


def test_without_management_running_tasks_are_unknown_and_keep_the_class_active(io_class: Build) -> None:
    story = Story(io_class(replicas={"min": 2, "max": 5}))
    unseen = story.run(5, unacked=None, consumers=2)
    assert unseen.active
    assert "can't be seen" in unseen.active_because
    nobody = story.run(5, unacked=None, consumers=0)
    assert nobody.running == (0, 0)


def test_eta_tasks_that_are_not_due_ask_for_nothing_now(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    for _ in range(30):
        story.now += 1
        queue = QueueReading("email", 0, 1500, 1500)
        decision = story.tick(Observation(story.now, (queue,)))
    assert decision.desired == 1
    assert decision.recommendation == 1
    assert decision.active, "a worker holds them; without it they would be taken again and again"


def test_a_raised_or_lowered_max_takes_effect_at_the_next_tick(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    story.run(1)
    story.run(100, ready=4000)
    story.subject = io_class(serviceTime="12s", replicas={"min": 1, "max": 2})
    assert story.run(1, ready=4000).desired == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version":0}', '{"version":1}', '{"version":1,"history":3}', "\x00"]
)
def test_a_broken_saved_state_is_no_state(text: str) -> None:
    with pytest.raises(StateError):
        WorkerState.from_json(text)


def test_early_acknowledgement_hides_what_runs_and_that_is_no_reason_for_pods(io_class: Build) -> None:
    """Between none and all slots may be busy: taking all of them for load would never stop growing."""
    story = Story(io_class(acksLate=False, prefetchMultiplier=4))
    idle = story.run(900, unacked=0, consumers=1)
    assert (idle.desired, idle.running, idle.active) == (1, (0, 200), True)
    assert "lower bound" in next(term.formula for term in idle.terms if term.name == "steady")


def test_early_acknowledgement_shows_busy_slots_by_what_waits_in_the_workers(io_class: Build) -> None:
    """Prefetch multiplier 4: 800 waiting in one worker of 200 slots means that all 200 are busy."""
    story = Story(io_class(acksLate=False, prefetchMultiplier=4, serviceTime="12s"))
    decision = story.run(1, ready=0, unacked=800, consumers=1)
    assert decision.running == (200, 200)
    assert decision.backlog == (800, 800)
    assert story.run(400, ready=0, unacked=800, consumers=1).desired >= 2


def test_a_management_api_that_stops_answering_holds_what_was_busy(io_class: Build) -> None:
    story = Story(io_class(serviceTime="12s"))
    story.run(400, unacked=500, consumers=3)
    busy = story.decisions[-1].desired
    lost = story.run(3000, unacked=None, consumers=3)
    assert busy >= 3
    assert (lost.desired, lost.quality) == (busy, "hold")
    assert "was visible before" in " ".join(lost.quality_reasons)


def test_restart_without_history_on_redis_adopts_what_its_unacked_tasks_need(io_class: Build) -> None:
    decision = Story(io_class()).run(1, unacked=1000)
    assert (decision.previous, decision.desired) == (5, 5)


def test_workers_that_come_to_a_broker_without_management_are_no_loss_of_sight(io_class: Build) -> None:
    """Without consumers nothing runs for certain; the first one that comes takes no sight away."""
    story = Story(io_class(serviceTime="12s"))
    story.run(10, ready=4000, unacked=None, consumers=0)
    working = story.run(1200, unacked=None, consumers=4)
    assert working.quality == "fresh"
    assert working.desired < 4
