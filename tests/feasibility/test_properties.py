"""What holds for every spike: more help never hurts, fixes are exact, and small steps agree."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.feasibility import Flow, Spike, burst, certify, outcome, spread
from scaler.core.feasibility.fixes import with_max_length, with_replicas, with_service_time
from scaler.core.feasibility.fluid import Course, play
from scaler.core.policy import WorkerPolicy

Build = Callable[..., WorkerPolicy]
FEW = settings(max_examples=60, deadline=None)


@st.composite
def spikes(draw: st.DrawFn) -> Spike:
    base = draw(st.floats(0, 8))
    seconds = draw(st.integers(10, 300))
    flows = [Flow(0.0, 60.0, base), Flow(60.0 + seconds, 900.0, base)]
    flows.append(Flow(60.0, 60.0 + seconds, base + draw(st.floats(0, 60))))
    if draw(st.booleans()):
        flows.append(burst(draw(st.integers(60, 200)), draw(st.integers(1, 600)), draw(st.integers(0, 60))))
    return Spike("any", tuple(flows), 900.0, before=base, deviations=draw(st.sampled_from([0.0, 2.0])))


def stepped(worker: WorkerPolicy, spike: Spike, course: Course, step: float) -> tuple[float, float, float]:
    """(worst backlog, rejected, started) by small steps, with the pods of the course."""
    limit = inf if worker.limits.max_length is None else worker.limits.max_length
    pieces, changes = spike.pieces, [(vertex.at, vertex.working) for vertex in course.vertices]
    backlog = worst = rejected = started = 0.0
    pods = changes[0][1]
    busy = min(spike.base * worker.service_time, pods * worker.concurrency)
    piece = change = 0
    for number in range(int(course.vertices[-1].at / step)):
        now = number * step
        while change < len(changes) and changes[change][0] <= now:
            pods, change = changes[change][1], change + 1
        while piece + 1 < len(pieces) and pieces[piece].end <= now:
            piece += 1
        arrived = 0.0
        for other in pieces[max(0, piece - 1) : piece + 4]:
            arrived += other.rate * max(0.0, min(now + step, other.end) - max(now, other.start))
        slots = pods * worker.concurrency
        busy = min(busy - busy * step / worker.service_time, slots)
        backlog += arrived
        taken = min(backlog, slots - busy)
        busy, backlog, started = busy + taken, backlog - taken, started + taken
        if backlog > limit:
            rejected, backlog = rejected + backlog - limit, limit
        worst = max(worst, backlog)
    return worst, rejected, started


@FEW
@given(spike=spikes())
def test_small_steps_come_to_the_same(build: Build, spike: Spike) -> None:
    worker = build()
    course = play(worker, spike)
    worst, rejected, started = stepped(worker, spike, course, 0.02)

    last = course.vertices[-1]
    # A step misplaces at most what arrives and starts in it.
    assert max(vertex.backlog for vertex in course.vertices) == pytest.approx(worst, abs=6)
    assert last.rejected == pytest.approx(rejected, abs=6 + 0.01 * rejected)
    assert last.started == pytest.approx(started, abs=6 + 0.01 * started)


@FEW
@given(spike=spikes())
def test_no_task_is_lost_from_the_books_and_the_queue_keeps_its_limit(build: Build, spike: Spike) -> None:
    course = play(build(), spike)
    published = sum(piece.rate * (piece.end - piece.start) for piece in spike.pieces)

    assert course.vertices[-1].accepted + course.vertices[-1].rejected == pytest.approx(published)
    for before, after in zip(course.vertices, course.vertices[1:], strict=False):
        assert before.at <= after.at
        assert before.accepted <= after.accepted
        assert before.started <= after.started + 1e-6
        assert 0 <= after.backlog <= 100 + 1e-9


@FEW
@given(spike=spikes(), more=st.integers(1, 6))
def test_more_max_and_more_warm_pods_never_reject_more_nor_make_anyone_wait_longer(
    build: Build, spike: Spike, more: int
) -> None:
    worker = build()
    plain = outcome(worker, spike)
    for low, high in ((1, 4 + more), (min(4, 1 + more), 4), (1 + more, 4 + more)):
        helped = outcome(with_replicas(worker, low, high), spike)
        assert helped.rejected <= plain.rejected + 1e-6
        assert helped.worst_wait <= plain.worst_wait + 1e-6


@FEW
@given(spike=spikes(), shorter=st.floats(0.1, 0.99), more=st.integers(1, 500))
def test_a_longer_queue_rejects_no_more_and_with_quicker_tasks_fewer_wait(
    build: Build, spike: Spike, shorter: float, more: int
) -> None:
    worker = build(behavior={"scaleUp": {"selectPolicy": "Disabled"}})
    plain = outcome(worker, spike)

    assert outcome(with_max_length(worker, 100 + more), spike).rejected <= plain.rejected + 1e-6
    quicker = outcome(*with_service_time(worker, spike, shorter))
    assert quicker.rejected <= plain.rejected + 1e-6
    assert quicker.worst_backlog <= plain.worst_backlog + 1e-6


@FEW
@given(tasks=st.integers(10, 2000), over=st.integers(1, 60), longer=st.integers(1, 300), base=st.floats(0, 9))
def test_spreading_a_dump_keeps_its_tasks_and_rejects_no_more(
    build: Build, tasks: int, over: int, longer: int, base: float
) -> None:
    worker = build(behavior={"scaleUp": {"selectPolicy": "Disabled"}})
    flows = (Flow(0.0, 900.0, base), burst(60, tasks, over))
    spike = Spike("dump", flows, 900.0, deviations=0.0)
    wide = spread(spike, over + longer)

    assert wide.extra == pytest.approx(spike.extra)
    assert wide.window[1] - wide.window[0] == pytest.approx(over + longer)
    assert outcome(worker, wide).rejected <= outcome(worker, spike).rejected + 1e-6


@settings(max_examples=25, deadline=None)
@given(spike=spikes())
def test_a_fix_that_is_found_is_safe_and_one_unit_less_is_not(build: Build, spike: Spike) -> None:
    worker = build()
    certificate = certify(worker, spike)
    assert bool(certificate.fixes) is not certificate.safe
    for fix in certificate.fixes:
        if fix.needed is None:
            assert not fix.outcome.safe
            continue
        units = 0.001 if fix.kind == "serviceTime" else 1
        less = fix.needed + units if fix.kind == "serviceTime" else fix.needed - units
        for number, safe in ((fix.needed, True), (less, False)):
            if fix.kind == "max":
                case = (with_replicas(worker, 1, int(number)), spike)
            elif fix.kind == "warm":
                case = (with_replicas(worker, int(number), max(4, int(number))), spike)
            elif fix.kind == "maxLength":
                case = (with_max_length(worker, int(number)), spike)
            elif fix.kind == "spread":
                window = spike.window[1] - spike.window[0]
                case = (worker, spread(spike, number) if number > window else spike)
            else:
                case = with_service_time(worker, spike, round(number, 3))
            assert outcome(*case).safe is safe, (fix.kind, number)


@FEW
@given(spike=spikes(), deviations=st.floats(0, 2))
def test_allowing_for_less_chance_never_makes_a_safe_spike_unsafe(
    build: Build, spike: Spike, deviations: float
) -> None:
    strict = replace(spike, deviations=2.0)

    assert not outcome(build(), strict).safe or outcome(build(), replace(spike, deviations=deviations)).safe
