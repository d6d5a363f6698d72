"""Workers as their events tell it: stories on a time line, and anything at all that may arrive."""

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.observation import WorkerReport
from scaler.sources.events import messages
from scaler.sources.events import roster as limits
from scaler.sources.events.messages import BODY_LIMIT, EVENT_TYPES, MessageError, body_of, events_in
from scaler.sources.events.roster import FORGET_SECONDS, Roster
from scaler.sources.events.skew import PERIOD, Skew
from scaler.sources.events.worker import SHOWN

T0 = 1_800_000_000.0


class Story:
    """One worker and its publisher, told in seconds since T0; their clocks may be off."""

    def __init__(self, hostname: str = "celery@a", skew: float = 0.0, pid: int = 7) -> None:
        self.roster = Roster()
        self.hostname = hostname
        self.skew = skew
        self.pid = pid

    def tell(self, at: float, kind: str, *, stamped: float | None = None, **fields: Any) -> None:
        stamp = T0 + (at if stamped is None else stamped) + self.skew
        event = {"type": kind, "hostname": self.hostname, "pid": self.pid, "timestamp": stamp, **fields}
        assert self.roster.apply(event, T0 + at)

    def beat(self, at: float, active: int, processed: int = 0, kind: str = "worker-heartbeat") -> None:
        self.tell(at, kind, active=active, processed=processed, freq=2.0)

    def task(self, at: float, what: str, uuid: str, **fields: Any) -> None:
        self.tell(at, f"task-{what}", uuid=uuid, **fields)

    def at(self, seconds: float, hostname: str | None = None) -> WorkerReport:
        reports = {report.hostname: report for report in self.roster.reports(T0 + seconds)}
        return reports[hostname or self.hostname]

    def names(self, seconds: float) -> list[str]:
        return [report.hostname for report in self.roster.reports(T0 + seconds)]


@pytest.fixture
def story() -> Story:
    """A worker that has just begun, has -E and is known to run nothing."""
    subject = Story()
    subject.beat(0, 0, kind="worker-online")
    subject.task(0.5, "received", "first", eta=None)
    subject.task(0.5, "started", "first")
    subject.task(1.5, "succeeded", "first", runtime=1.0)
    subject.beat(2, 0, 1)
    return subject


class TestHeartbeats:
    def test_a_worker_without_task_events_tells_its_slots_and_nothing_else(self) -> None:
        story = Story()
        story.beat(0, 0, kind="worker-online")
        story.beat(2, 3, 5)
        story.beat(4, 2, 6)
        report = story.at(5)
        assert (report.active, report.processed, report.counted_at) == (2, 6, T0 + 4)
        assert (report.heard_at, report.since, report.frequency) == (T0 + 4, T0, 2.0)
        assert not report.task_events
        assert (report.finished, report.running, report.due) == (0, None, ())

    def test_reports_come_in_the_order_of_names(self) -> None:
        story = Story()
        for hostname in ("celery@c", "celery@a", "celery@b"):
            story.hostname = hostname
            story.beat(0, 0)
        assert story.names(1) == ["celery@a", "celery@b", "celery@c"]

    def test_a_silent_worker_stays_for_five_minutes(self, story: Story) -> None:
        assert story.at(2 + FORGET_SECONDS).heard_at == T0 + 2
        assert story.names(2.1 + FORGET_SECONDS) == []

    def test_silence_while_nobody_listened_is_no_silence(self, story: Story) -> None:
        story.roster.interrupted()
        assert story.names(10 * FORGET_SECONDS) == ["celery@a"]
        story.roster.resumed(T0 + 10 * FORGET_SECONDS)
        assert story.names(11 * FORGET_SECONDS) == ["celery@a"]
        assert story.names(11 * FORGET_SECONDS + 1) == []

    def test_a_goodbye_removes_it_at_once_and_what_comes_later_is_no_return(self, story: Story) -> None:
        story.task(3, "started", "long")
        story.beat(4, 1, 2, kind="worker-offline")
        assert story.names(4) == []
        # prefork says goodbye when its shutdown begins, and then finishes what it runs.
        story.task(9, "succeeded", "long", runtime=6.0)
        assert story.names(9) == []

    def test_a_successor_of_the_same_name_survives_the_goodbye_of_the_old_one(self, story: Story) -> None:
        story.pid = 8
        story.beat(3, 0, kind="worker-online")
        story.pid = 7
        story.beat(4, 0, 2, kind="worker-offline")
        assert story.names(5) == ["celery@a"]

    def test_a_worker_that_owes_no_heartbeats_has_no_frequency(self) -> None:
        story = Story()
        story.task(0, "started", "one")
        report = story.at(100)
        assert report.frequency == math.inf
        assert (report.active, report.running) == (None, None)


class TestSkew:
    @pytest.mark.parametrize("off", [-45.0, 0.0, 3.5])
    def test_events_held_up_on_the_way_dont_count(self, off: float) -> None:
        story = Story(skew=off)
        for second in range(0, 60, 2):
            story.tell(
                second, "worker-heartbeat", stamped=second - (second % 10), active=0, processed=0, freq=2.0
            )
        assert story.at(60).skew == pytest.approx(off)

    def test_a_clock_that_was_set_right_is_right_after_a_minute(self) -> None:
        skew = Skew(100.0, T0)
        for second in range(int(2 * PERIOD) + 1):
            skew.add(-0.001, T0 + second)
        assert skew.seconds == -0.001

    def test_times_are_told_on_our_clock(self) -> None:
        story = Story(skew=120.0)
        story.beat(0, 0)
        story.beat(2, 0)
        story.task(3, "started", "one")
        story.beat(4, 1, 1)
        report = story.at(10)
        assert report.counted_at == pytest.approx(T0 + 4)
        assert report.running_since == pytest.approx((T0 + 3,))
        assert report.running_age == pytest.approx(7)


class TestSums:
    def test_successes_failures_and_retries_used_a_slot(self, story: Story) -> None:
        for uuid, end, fields in (
            ("ok", "succeeded", {"runtime": 2.0}),
            ("bad", "failed", {}),
            ("again", "retried", {}),
        ):
            story.task(10, "started", uuid)
            story.task(13, end, uuid, **fields)
        report = story.at(13)
        # 1 s of the fixture's task, 2 s as Celery measured them, and twice 3 s between events.
        assert (report.finished, report.failed, report.runtime) == pytest.approx((4, 1, 9.0))

    @pytest.mark.parametrize("end", ["rejected", "revoked", "cancelled"])
    def test_attempts_cut_short_say_nothing_of_the_duration(self, story: Story, end: str) -> None:
        story.task(3, "started", "one")
        story.task(3.1, end, "one")
        report = story.at(3.2)
        assert (report.finished, report.running) == (1, 0)

    def test_a_failure_whose_start_was_missed_is_left_out(self, story: Story) -> None:
        story.roster.interrupted()
        story.task(3, "failed", "begun unseen")
        report = story.at(3)
        assert (report.finished, report.failed) == (1, 0)

    def test_a_task_that_cant_even_begin_is_a_failure_of_no_time(self, story: Story) -> None:
        story.beat(4, 0, 1)
        story.task(5, "failed", "not registered")
        report = story.at(5)
        assert (report.finished, report.failed, report.runtime) == pytest.approx((2, 1, 1.0))

    def test_latency_is_from_publishing_to_done_on_clocks_that_differ(self) -> None:
        worker, client = Story(skew=30.0), Story("gen42@web", skew=-300.0)
        client.roster = worker.roster
        client.task(10, "sent", "one", eta=None)
        worker.beat(11, 0)
        worker.task(14, "started", "one")
        worker.task(17, "succeeded", "one", runtime=3.0)
        report = worker.at(17)
        assert (report.latencies, report.latency) == pytest.approx((1, 7.0))
        assert worker.names(17) == ["celery@a"]

    def test_latency_of_an_eta_task_is_from_the_eta(self, story: Story) -> None:
        client = Story("gen42@web")
        client.roster = story.roster
        client.task(3, "sent", "later", eta="2027-01-15T08:01:40+00:00")  # T0 + 100
        story.task(3, "received", "later", eta="2027-01-15T08:01:40+00:00")
        story.task(101, "started", "later")
        story.task(103, "succeeded", "later", runtime=2.0)
        report = story.at(103)
        assert (report.latencies, report.latency) == pytest.approx((1, 3.0))

    def test_a_retry_is_done_when_its_last_message_is(self, story: Story) -> None:
        client = Story("gen42@web")
        client.roster = story.roster
        client.task(3, "sent", "one", eta=None)
        story.task(3, "started", "one")
        client.task(5, "sent", "one", eta=None)
        story.task(5, "retried", "one")
        story.task(6, "started", "one")
        story.task(8, "succeeded", "one", runtime=2.0)
        report = story.at(8)
        assert (report.latencies, report.latency) == pytest.approx((1, 3.0))


class TestRunning:
    def test_tasks_come_and_go(self, story: Story) -> None:
        story.beat(4, 0, 1)
        for number in range(3):
            story.task(5 + number, "started", f"t{number}")
        assert story.at(8).running == 3
        assert story.at(8).running_since == (T0 + 5, T0 + 6, T0 + 7)
        assert story.at(8).running_age == pytest.approx(3 + 2 + 1)
        story.task(9, "succeeded", "t1", runtime=3.0)
        assert story.at(9).running_since == (T0 + 5, T0 + 7)

    def test_only_the_oldest_are_told(self, story: Story) -> None:
        story.beat(4, 0, 1)
        for number in range(SHOWN + 10):
            story.task(5 + number / 100, "started", f"t{number}")
        report = story.at(6)
        assert report.running == SHOWN + 10
        assert len(report.running_since) == SHOWN
        assert report.running_since[0] == T0 + 5

    def test_a_worker_that_ran_before_we_listened_is_unknown_until_its_old_tasks_are_done(self) -> None:
        story = Story()
        story.beat(0, 2, 50)
        story.task(1, "started", "new")
        story.beat(2, 3, 51)
        story.task(3, "succeeded", "old-1", runtime=9.0)
        story.beat(4, 2, 51)
        assert story.at(4).running is None
        story.task(5, "succeeded", "old-2", runtime=9.0)
        story.beat(6, 1, 51)
        story.beat(8, 1, 51)
        assert (story.at(8).running, story.at(8).running_since) == (1, (T0 + 1,))

    def test_after_a_gap_what_ended_unseen_isnt_counted(self, story: Story) -> None:
        story.beat(4, 0, 1)
        story.task(5, "started", "ends unseen")
        story.roster.interrupted()
        assert story.at(6).running is None
        story.roster.resumed(T0 + 20)
        # Another began unseen: the count would be right by accident, with a start that is wrong.
        story.beat(21, 1, 3)
        story.beat(23, 1, 3)
        assert story.at(23).running is None
        story.task(24, "succeeded", "began unseen", runtime=6.0)
        story.beat(25, 0, 3)
        story.beat(27, 0, 3)
        assert (story.at(27).running, story.at(27).running_since) == (0, ())

    def test_an_end_after_a_gap_still_gives_the_runtime_of_a_failure(self, story: Story) -> None:
        story.task(3, "started", "one")
        story.roster.interrupted()
        story.roster.resumed(T0 + 5)
        story.task(13, "failed", "one")
        report = story.at(13)
        assert (report.failed, report.runtime) == pytest.approx((1, 11.0))

    def test_a_heartbeat_that_overtakes_task_events_is_no_contradiction(self, story: Story) -> None:
        story.beat(4, 0, 1)
        for second in range(5, 25, 2):
            # Started before the heartbeat, told after it: threads gather their events.
            story.beat(second + 1, 1, second)
            story.tell(second + 1.5, "task-started", uuid=f"t{second}", stamped=second + 0.5)
            story.tell(second + 1.9, "task-succeeded", uuid=f"t{second}", stamped=second + 1.8, runtime=1.3)
            assert story.at(second + 1.9).running == 0

    def test_tasks_that_end_without_an_event_dont_run_for_ever(self, story: Story) -> None:
        story.beat(4, 0, 1)
        story.task(5, "started", "raises Ignore")
        for second in range(6, 14, 2):
            story.beat(second, 0, 2)
        assert story.at(12).running is None
        for second in range(14, 18, 2):
            story.beat(second, 0, 2)
        assert story.at(16).running == 0

    def test_tasks_that_begin_without_an_event_make_the_count_unknown(self, story: Story) -> None:
        for second in range(4, 12, 2):
            story.beat(second, 1, 2)
        assert story.at(11).running is None
        story.beat(12, 0, 2)
        story.beat(14, 0, 2)
        assert story.at(14).running == 0

    def test_a_worker_that_is_silent_may_be_a_busy_solo_one(self, story: Story) -> None:
        story.beat(4, 0, 1)
        assert story.at(10).running == 0
        assert story.at(10.1).running is None

    def test_a_new_process_runs_nothing_of_the_old_one(self, story: Story) -> None:
        story.beat(4, 0, 1)
        story.task(5, "started", "lost")
        story.pid = 8
        story.beat(6, 0, kind="worker-online")
        story.task(7, "started", "one")
        story.beat(8, 1, 1)
        report = story.at(8)
        assert (report.running, report.running_since) == (1, (T0 + 7,))
        assert (report.finished, report.since) == (1, T0)


class TestDue:
    ETA = "2027-01-15T08:10:{:02}.500000+00:00"  # T0 + 600 s and later

    def test_received_tasks_are_told_in_steps_until_they_are_due(self, story: Story) -> None:
        for number in range(20):
            story.task(3, "received", f"t{number}", eta=self.ETA.format(number))
        assert story.at(4).due == ((T0 + 610, 10), (T0 + 620, 10))
        story.beat(609, 0, 1)
        assert story.at(610).due == ((T0 + 620, 10),)
        assert story.at(620).due == ()

    @pytest.mark.parametrize("what", ["started", "revoked", "rejected"])
    def test_one_that_left_is_no_longer_due(self, story: Story, what: str) -> None:
        story.task(3, "received", "one", eta=self.ETA.format(0))
        story.task(4, what, "one")
        assert story.at(4).due == ()

    def test_one_that_is_delivered_again_counts_at_its_new_worker_only(self, story: Story) -> None:
        story.task(3, "received", "one", eta=self.ETA.format(0))
        story.hostname = "celery@b"
        story.task(4, "received", "one", eta=self.ETA.format(0))
        assert story.at(5, "celery@a").due == ()
        assert story.at(5, "celery@b").due == ((T0 + 610, 1),)

    def test_a_retry_that_is_received_before_its_first_attempt_ended_is_due(self, story: Story) -> None:
        story.task(3, "started", "one")
        story.task(4, "received", "one", eta=self.ETA.format(0))
        story.task(4, "retried", "one")
        assert story.at(4).due == ((T0 + 610, 1),)
        assert story.at(4).finished == 2

    def test_a_worker_that_lost_its_broker_has_given_its_tasks_back(self, story: Story) -> None:
        story.task(3, "received", "one", eta=self.ETA.format(0))
        story.beat(4, 0, 1, kind="worker-online")
        assert story.at(4).due == ()

    def test_an_hour_is_told_in_steps_and_the_rest_in_one_sum(self, story: Story) -> None:
        for number in range(500):
            minute, second = divmod(number * 10, 60)
            story.task(
                3,
                "received",
                f"t{number}",
                eta=f"2027-01-15T{9 + minute // 60:02}:{minute % 60:02}:{second:02}Z",
            )
        due = story.at(4).due
        assert len(due) == 360
        assert sum(count for _, count in due) == 500
        assert due[-1][1] == 141


class TestBounds:
    def test_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_WORKERS", 100)
        story = Story()
        for number in range(300):
            story.hostname = f"celery@{number:03}"
            story.beat(number / 100, 0)
            story.task(number / 100, "received", f"t{number}", eta="2027-01-15T09:00:00Z")
        assert story.names(4) == [f"celery@{number:03}" for number in range(200, 300)]
        assert len(story.roster._holders) == 100

    def test_tasks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_TASKS", 2_000)
        story = Story("celery@small")
        story.task(0, "received", "mine", eta="2027-01-15T09:00:00Z")
        story.hostname = "celery@flood"
        for number in range(10_000):
            what = "started" if number % 2 else "received"
            story.task(0, what, f"t{number}", eta="2027-01-15T09:00:00Z")
        assert sum(worker.size for worker in story.roster._workers.values()) <= 3_000
        assert len(story.roster._holders) <= 3_000
        assert sum(count for _, count in story.at(1, "celery@small").due) == 1

    def test_publish_times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_SENT", 100)
        monkeypatch.setattr(limits, "MAX_PUBLISHERS", 50)
        story = Story("gen1@web")
        for number in range(300):
            story.hostname = f"gen{number}@web"
            story.task(0, "sent", f"t{number}")
        assert len(story.roster._sent) == 100
        assert len(story.roster._publishers) == 50
        story.task(limits.SENT_SECONDS + 1, "sent", "tomorrow")
        assert list(story.roster._sent) == ["tomorrow"]


NAMES = st.sampled_from(["celery@a", "celery@b", "celery@c"])
UUIDS = st.sampled_from([f"t{number}" for number in range(6)])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KINDS = st.sampled_from([*EVENT_TYPES, "task-progress", "worker-elect"])
LIKELY = st.fixed_dictionaries(
    {
        "type": KINDS,
        "hostname": NAMES,
        "pid": st.integers(1, 2),
        "uuid": UUIDS,
        "timestamp": st.floats(T0 - 1e4, T0 + 1e4),
        "active": st.integers(0, 3),
        "processed": st.integers(0, 9),
        "freq": st.just(2.0),
        "runtime": st.floats(0, 100) | st.none(),
        "eta": st.sampled_from(["2027-01-15T08:10:00Z", "2027-01-15T08:11:00", None]),
    }
)
HOSTILE = st.dictionaries(
    st.sampled_from(
        ["hostname", "pid", "uuid", "timestamp", "active", "processed", "freq", "runtime", "eta", "type"]
    ),
    ANYTHING,
)


def consistent(report: WorkerReport, now: float) -> None:
    assert report.finished >= report.failed >= 0
    assert report.finished >= report.latencies >= 0
    assert report.runtime >= 0
    assert report.latency >= 0
    assert math.isfinite(report.runtime + report.latency + report.skew)
    assert report.running is None or report.running >= len(report.running_since)
    assert report.running is not None or report.running_since == ()
    assert list(report.running_since) == sorted(report.running_since)
    assert all(since <= now for since in report.running_since)
    assert report.running_age >= -1e-3
    assert all(at > now and count > 0 for at, count in report.due)


class TestAnything:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(LIKELY, HOSTILE, st.integers(0, 9)), max_size=60), st.lists(st.integers(0, 60)))
    def test_no_event_raises_or_makes_nonsense(
        self, told: list[tuple[dict[str, Any], dict[str, Any], int]], gaps: list[int]
    ) -> None:
        roster, now = Roster(), T0
        for step, (likely, hostile, mixed) in enumerate(told):
            now += 0.7
            if step in gaps:
                roster.interrupted()
                roster.resumed(now)
            # One event in ten is hostile in some of its fields.
            roster.apply({**likely, **hostile} if mixed == 0 else likely, now)
            for report in roster.reports(now):
                consistent(report, now)
        holders = {uuid for worker in roster._workers.values() for uuid in worker.held}
        assert holders == set(roster._holders)

    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_no_body_raises_anything_but_its_own_error(self, body: bytes) -> None:
        for read in (events_in, body_of):
            with suppress(MessageError):
                read(body)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"[" * 100_000, id="nested"),
            pytest.param(b"9" * 100_000, id="a long number"),
            pytest.param(b'{"type": "' + b"x" * BODY_LIMIT + b'"}', id="huge"),
            pytest.param(b"[1, 2]", id="a list of numbers"),
            pytest.param(b'"text"', id="a text"),
            pytest.param(b"\x80\x04\x95", id="a pickle"),
            pytest.param(b"", id="empty"),
        ],
    )
    def test_bodies_that_arent_events(self, body: bytes) -> None:
        with pytest.raises(MessageError):
            events_in(body)

    @pytest.mark.parametrize(
        "envelope",
        [
            pytest.param(b"{}", id="empty"),
            pytest.param(b'{"body": 3}', id="no text"),
            pytest.param(b'{"body": "x", "properties": {"body_encoding": "base64"}}', id="broken base64"),
        ],
    )
    def test_envelopes_that_arent_kombus(self, envelope: bytes) -> None:
        with pytest.raises(MessageError):
            body_of(envelope)

    def test_an_envelope_may_hold_its_body_as_it_is(self) -> None:
        assert events_in(body_of(b'{"body": "{\\"type\\": \\"a\\"}", "properties": {}}')) == [{"type": "a"}]

    def test_a_list_of_events_is_taken_apart(self) -> None:
        assert events_in(b'[{"type": "a"}, {"type": "b"}]') == [{"type": "a"}, {"type": "b"}]

    @pytest.mark.parametrize("value", [math.nan, math.inf, -1, "3", True, None, 10**400, [3]])
    def test_fields_that_arent_numbers_in_range(self, value: object) -> None:
        assert messages.number({"x": value}, "x", 100) is None
