"""A certificate in sentences with numbers. All times count from the start of what was declared."""

import math
from collections.abc import Iterator

from scaler.core.feasibility.certificate import Certificate
from scaler.core.feasibility.fixes import LONGEST_SPREAD, Fix
from scaler.core.feasibility.growth import (
    HPA_SYNC_SECONDS,
    SEEN_SECONDS,
    TICK_SECONDS,
)
from scaler.core.feasibility.outcome import Outcome, Problem
from scaler.core.policy.values import format_duration

#: Steps of the replicas that a line shows.
SHOWN_MOVES = 6
NAMES = {
    "max": "max replicas",
    "warm": "warm replicas",
    "maxLength": "max length",
    "spread": "spread of the publish",
    "serviceTime": "service time",
}


def lines(certificate: Certificate) -> Iterator[str]:
    """The certificate, the verdict first."""
    found = certificate.outcome
    yield f"{'SAFE' if certificate.safe else 'UNSAFE'}: {summary(certificate)}"
    for problem in found.problems:
        yield f"  {_problem(certificate, problem)}"
    yield f"  {figures(found)}"
    yield f"  {replicas(certificate)}"
    if certificate.fixes:
        yield "  smallest single change that makes it SAFE, of each kind:"
        for fix in certificate.fixes:
            yield f"    {NAMES[fix.kind]}: {remedy(certificate, fix)}"
    for note in notes(certificate):
        yield f"  {note}"


def summary(certificate: Certificate) -> str:
    """What was declared, and what stands in front of it."""
    worker, spike, found = certificate.worker, certificate.spike, certificate.outcome
    start, end = spike.window
    peak = max(piece.rate for piece in spike.pieces)
    low, high = worker.replicas.min, worker.replicas.max
    return (
        f"{spike.name}: {count(found.tasks)} tasks, published from {moment(start)} to {moment(end)},"
        f" {_rate(peak)} tasks/s at most, {format_duration(certificate.service)} each;"
        f" {low} to {high} pods of {worker.concurrency} slots"
    )


def figures(found: Outcome) -> str:
    """Worst backlog and wait, and when it is over."""
    # A queue at its limit gets no longer: with bad luck more is refused.
    more = 0.0 if found.rejected else found.backlog_allowance
    backlog = (
        "no task waits"
        if found.worst_backlog == 0
        else (
            f"worst backlog {count(found.worst_backlog)}{_unlucky(count(found.worst_backlog + more), more)}"
            f" at {moment(found.worst_backlog_at)}, worst wait {_wait(found)},"
            f" of a task published at {moment(found.worst_wait_at)}"
        )
    )
    if found.started_at is None or found.done_at is None:
        return f"{backlog}; it is never worked off"
    return f"{backlog}; the last task starts by {moment(found.started_at)}, done by {moment(found.done_at)}"


def replicas(certificate: Certificate) -> str:
    """The steps that the behavior allows."""
    moves = certificate.outcome.moves
    steps = [f"{moves[0].replicas} at the start"]
    for move in moves[1 : 1 + SHOWN_MOVES]:
        works = f", working from {moment(move.working)}" if move.working > move.decided else ""
        steps.append(f"{move.replicas} decided at {moment(move.decided)}{works}")
    if len(moves) > 1 + SHOWN_MOVES:
        steps.append(f"… {moves[-1].replicas} at {moment(moves[-1].decided)}")
    return f"replicas: {'; '.join(steps)}"


def remedy(certificate: Certificate, fix: Fix) -> str:
    """What to change, and what becomes of the spike then; or why nothing of this kind helps."""
    if fix.needed is None:
        return _no_remedy(certificate, fix)
    found = fix.outcome
    after = (
        "nothing waits"
        if found.worst_backlog == 0
        else f"worst backlog {count(found.worst_backlog)}, worst wait {_seconds(found.worst_wait)}"
    )
    return f"{_change(certificate, fix, fix.needed)}: {after}"


def notes(certificate: Certificate) -> Iterator[str]:
    """What the figures rest on, and to which side they err."""
    worker, spike = certificate.worker, certificate.spike
    yield (
        f"lead time {format_duration(certificate.lead)}, the worst of each way:"
        f" reading {SEEN_SECONDS:g} s old, tick {TICK_SECONDS:g} s, HPA sync {HPA_SYNC_SECONDS:g} s,"
        f" pod start {format_duration(certificate.startup)}"
    )
    if spike.deviations:
        yield (
            f"bad luck: {spike.deviations:g} standard deviations more work than the mean, by tasks that come"
            f" together and take longer (service time ± {spike.variation:.0%}); SAFE holds with it"
        )
    yield (
        "bound: without bad luck exact for tasks as a fluid of the mean service time. It takes the scaler to"
        " ask at once for all that the policy allows while a queue stands: conservative in the lead time and"
        " in the luck, not in the asking"
    )
    if len(worker.queues) > 1 and worker.limits.max_length is not None:
        queues = len(worker.queues)
        yield f"maxLength holds per queue: all tasks are taken to go to one of the {queues} queues"
    if worker.schedule:
        yield "schedules are not counted: a spike has no time of day"
    ahead = worker.prefetch_multiplier - (1 if worker.acks_late else 0)
    if ahead > 0:
        yield (
            f"prefetching isn't counted: workers take up to {ahead} more tasks per slot ahead, which new pods"
            f" never see; those may wait {format_duration(ahead * certificate.service)} longer"
        )


def count(tasks: float) -> str:
    """Tasks as people read them; a fraction of one is one."""
    return f"{math.ceil(tasks - 1e-6):,}"


def moment(seconds: float) -> str:
    """A moment or span, to a tenth of a second below an hour."""
    return format_duration(round(seconds, 1 if seconds < 3600 else 0))  # noqa: PLR2004 - an hour


def _problem(certificate: Certificate, problem: Problem) -> str:
    worker, found = certificate.worker, certificate.outcome
    limits, objective = worker.limits, worker.objective
    start = certificate.spike.window[0]
    after = f"{moment(max(0.0, problem.at - start))} after the spike begins"
    if problem.kind == "rejected":
        verb = "the oldest are dropped" if limits.overflow == "drop-head" else "rejected"
        return (
            f"{verb}: {count(problem.tasks)} tasks, the first at {moment(problem.at)} ({after}),"
            f" when the queue holds maxLength {limits.max_length:,}"
        )
    if problem.kind == "close":
        return (
            f"too close to its limit: at {moment(problem.at)} the queue may hold"
            f" {count(problem.tasks)} tasks more than maxLength {limits.max_length:,} with bad luck"
        )
    if problem.kind == "expired":
        return (
            f"expired: up to {count(problem.tasks)} tasks wait longer than messageTtl"
            f" {format_duration(limits.message_ttl or 0.0)}, the first dies at {moment(problem.at)}"
        )
    if problem.kind == "stuck":
        return f"never worked off: {worker.replicas.max} pods can't do it within a week"
    return (
        f"late: {found.late_share:.1%} of the tasks may start later than {format_duration(objective.wait)}"
        f" (serviceLevel {objective.service_level:g} allows {1 - objective.service_level:.3g}),"
        f" the first of them published at {moment(problem.at)}"
    )


def _change(certificate: Certificate, fix: Fix, needed: float) -> str:
    worker, spike = certificate.worker, certificate.spike
    present = fix.present or 0
    if fix.kind == "max":
        return f"replicas.max {needed:.0f} instead of {present:.0f}"
    if fix.kind == "warm":
        also = f" (and replicas.max {needed:.0f} instead of {worker.replicas.max})" if fix.raises_max else ""
        return (
            f"{needed:.0f} pods instead of {present:.0f}{also} that work when it begins: replicas.min, or a"
            f" schedule or announcement {format_duration(certificate.lead)} ahead"
        )
    if fix.kind == "maxLength":
        return f"limits.maxLength {needed:,.0f} instead of {present:,.0f}"
    if fix.kind == "spread":
        return f"publish the {count(spike.extra)} tasks over {moment(needed)} instead of {_span(present)}"
    return f"tasks of {format_duration(needed)} instead of {format_duration(present)}"


def _no_remedy(certificate: Certificate, fix: Fix) -> str:
    left = fix.outcome.problems[0]
    text = f"none helps, {_far_end(fix)}: "
    if fix.kind == "max" and fix.first_help is not None and left.at < fix.first_help.working:
        came = _published_before(certificate, fix.first_help.working)
        text += f"{came} tasks arrive before the first new pods work at {moment(fix.first_help.working)}; "
    elif fix.kind == "max":
        text += "the behavior doesn't add pods fast enough; "
    text += _remains(fix.outcome, left)
    if fix.lossless is not None:
        text += f". Nothing is lost with {_change(certificate, fix, fix.lossless)}"
    return text


def _far_end(fix: Fix) -> str:
    if fix.kind == "maxLength":
        return "not even a queue without limit"
    if fix.kind == "spread":
        return f"not even {format_duration(LONGEST_SPREAD)}"
    if fix.kind == "serviceTime":
        return f"not even {format_duration(fix.tried)}"
    return f"not even {fix.tried:,.0f}"


def _remains(found: Outcome, problem: Problem) -> str:
    what = {
        "rejected": f"{count(problem.tasks)} are still rejected",
        "close": "the queue still comes too close to its limit",
        "expired": f"{count(problem.tasks)} still expire",
        "late": f"{found.late_share:.1%} still start too late",
        "stuck": "it is still never worked off",
    }
    return what[problem.kind]


def _published_before(certificate: Certificate, until: float) -> str:
    start = certificate.spike.window[0]
    pieces = certificate.spike.pieces
    return count(
        sum(piece.rate * max(0.0, min(until, piece.end) - max(start, piece.start)) for piece in pieces)
    )


def _wait(found: Outcome) -> str:
    if found.worst_wait == math.inf:
        return "without end"
    unlucky = _seconds(found.worst_wait + found.wait_allowance)
    return f"{_seconds(found.worst_wait)}{_unlucky(unlucky, found.wait_allowance)}"


def _unlucky(words: str, more: float) -> str:
    return f" ({words} with bad luck)" if more >= 0.1 else ""  # noqa: PLR2004 - the last digit shown


def _seconds(seconds: float) -> str:
    return moment(seconds)


def _span(seconds: float) -> str:
    return "at once" if seconds < 0.01 else moment(seconds)  # noqa: PLR2004 - AT_ONCE, with room


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"  # noqa: PLR2004 - three digits
