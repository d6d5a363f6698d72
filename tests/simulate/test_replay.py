"""Record a simulated service, replay the recording: the load and the cost come back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy
from scaler.policyfile import load_directory_or_file
from scaler.policyfile.traces import load_trace
from scaler.runtime.recorder import Entry, FlightRecorder, policy_document
from scaler.sim.controllers import CONTROLLERS, Scaler
from scaler.sim.readings import Meter
from scaler.sim.report import Report
from scaler.sim.run import simulate
from scaler.simreport.plan import Plan, PlanError, Request, make_plan
from scaler.simreport.recording import RecordingError, Track, read_recording
from scaler.simreport.replay import trace_of
from scaler.simreport.runs import Run

NOW = 1_800_000_000.0


class Recorded(Scaler):
    """Our controller, with the flight recorder where the service has it: behind each decision."""

    def __init__(self, subject: WorkerClass, recorder: FlightRecorder) -> None:
        super().__init__(subject)
        self.recorder = recorder

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        super().tick(meter, fleet, spec)
        assert self.decision is not None
        self.recorder.write(self.subject.worker, meter.observe(fleet), self.decision)


def played(shop: Path) -> Report:
    """Simulates the trace of the shop and records it into shop/recording."""
    policy = load_directory_or_file(shop / "policy.yaml", None, {})["shop"]
    subject = WorkerClass("shop", "mail", policy.spec.workers["mail"])
    recorder = FlightRecorder(shop / "recording")
    recorder.start()
    controller = replace(CONTROLLERS["scaler"], make=lambda chosen: Recorded(chosen, recorder))
    report = simulate(load_trace(shop / "trace.yaml"), subject, controller)
    recorder.stop()
    return report


def plan_of(shop: Path, policy: str | None = None) -> Plan:
    chosen = shop / policy if policy else None
    return make_plan(Request(chosen, None, [], [shop / "recording"], [], []), {})


def runs_of(plan: Plan) -> dict[str, Run]:
    return {run.label: run for run in (step.run() for step in plan.steps)}


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_replay_of_the_recorded_policy_comes_close_to_what_was(shop: Path, broker: str) -> None:
    trace = (shop / "trace.yaml").read_text() + f"  readings: {{broker: {broker}}}\n"
    (shop / "trace.yaml").write_text(trace)
    original = played(shop)
    runs = runs_of(plan_of(shop))

    recorded, again = runs["as recorded"].report, runs["recorded policy · scaler"].report
    assert recorded.offered == pytest.approx(original.offered, rel=0.03)
    assert [(round(step.t), step.before, step.desired) for step in recorded.steps] == [
        (round(step.t), step.before, step.desired) for step in original.steps
    ]
    # Which tasks take long is drawn anew, and may bring or spare one pod for one window: with six seeds and
    # both brokers the replay came to 0.85 to 1.02 of what was.
    assert again.pod_minutes == pytest.approx(original.pod_minutes, rel=0.17)
    assert recorded.pod_minutes == pytest.approx(original.pod_minutes, rel=0.15)
    assert again.max_backlog == pytest.approx(original.max_backlog, rel=0.35)


def test_another_policy_is_set_beside_the_recorded_one(shop: Path) -> None:
    played(shop)
    text = (shop / "policy.yaml").read_text().replace("max: 4", "max: 1")
    (shop / "narrow.yaml").write_text(text)
    runs = runs_of(plan_of(shop, "narrow.yaml"))

    assert list(runs) == ["as recorded", "recorded policy · scaler", "shop · scaler"]
    # One pod can't start 12 tasks/s of 2 s in time; four can.
    assert runs["shop · scaler"].report.waits.late > runs["recorded policy · scaler"].report.waits.late
    assert runs["shop · scaler"].report.pod_minutes < runs["recorded policy · scaler"].report.pod_minutes


def test_the_same_policy_is_simulated_once(shop: Path) -> None:
    played(shop)

    assert len(plan_of(shop, "policy.yaml").steps) == 2


def test_what_a_replay_cannot_know_is_said(shop: Path) -> None:
    played(shop)
    notes = " ".join(plan_of(shop).notes)

    assert "the broker's count of published messages" in notes
    assert "no single tasks" in notes


def entry(second: float, **changes: object) -> Entry:
    plain = Entry(NOW + second, "shop", "mail", 1, 1, "steady", "none", "fresh", waiting=0.0, running=0.0)
    return replace(plain, **changes)  # type: ignore[arg-type] # values of the test's own table


def arrivals(*entries: Entry) -> tuple[tuple[float, int], ...]:
    return trace_of(Track("shop", "mail", list(entries)))[0].spec.recorded


def test_counters_give_arrivals_even_where_one_begins_anew() -> None:
    rows = arrivals(
        entry(0, published=100, counted_at=NOW),
        entry(5, published=130, counted_at=NOW + 5),
        entry(10, published=130, counted_at=NOW + 5),  # the broker hasn't counted since
        entry(15, published=7, counted_at=NOW + 15),  # restarted
    )

    assert [count for _, count in rows] == [0, 30, 7]


def test_without_counters_arrivals_are_growth_and_finished_work() -> None:
    # 10 slots busy for 5 s with tasks of 2 s finish 25; the backlog grows by 15.
    rows = arrivals(
        entry(0, running=10.0, service_time=2.0), entry(5, running=10.0, waiting=15.0, service_time=2.0)
    )

    assert [count for _, count in rows] == [10, 40]


def test_noise_is_made_good_by_the_next_interval() -> None:
    waiting = (10.0, 8.0, 10.0, 10.0)
    rows = arrivals(*(entry(5 * k, waiting=value) for k, value in enumerate(waiting)))

    assert sum(count for _, count in rows) == 10


def write(folder: Path, *lines: str) -> Path:
    folder.mkdir()
    file = folder / "recording-000001.jsonl"
    file.write_text("\n".join(lines))
    return file


def test_torn_and_strange_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    good = [entry(k * 5.0).to_line() for k in range(3)]
    write(tmp_path / "r", good[0], good[1][:30], "[]", '{"policy":1}', "\ufffd", good[2], good[2][:-3])
    (track,) = read_recording(tmp_path / "r")

    assert [item.t - NOW for item in track.entries] == [0, 10]
    assert track.torn == 5


def test_a_single_moment_is_no_recording(tmp_path: Path) -> None:
    write(tmp_path / "r", entry(0).to_line())

    with pytest.raises(RecordingError, match="no recording that can be replayed"):
        read_recording(tmp_path / "r")


def test_a_file_of_a_later_version_is_refused_with_its_place(tmp_path: Path) -> None:
    header = json.dumps({"recording": 2, "policy": "shop", "workerClass": "mail"})
    file = write(tmp_path / "r", header)

    with pytest.raises(RecordingError, match=f"{file}:1: format 2 is not 1"):
        read_recording(file)


def test_a_recording_without_its_policy_needs_one(shop: Path) -> None:
    write(shop / "recording", entry(0).to_line(), entry(5).to_line())

    with pytest.raises(PlanError, match="name one: --policy FILE"):
        plan_of(shop)
    assert len(plan_of(shop, "policy.yaml").steps) == 2


def test_a_recorded_policy_holds_no_address(shop: Path, make_run: Callable[..., Run]) -> None:
    del make_run
    worker: WorkerPolicy = load_directory_or_file(shop / "policy.yaml", None, {})["shop"].spec.workers["mail"]

    assert "://" not in json.dumps(policy_document(worker))
