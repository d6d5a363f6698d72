"""A decision in lines for people: the number, the sums behind it, what held it back, and until when.

The service's JSON, `celery-scaler explain` and the demo all show these same lines. Nothing is
smoothed over: an interval stays an interval, and what can't be seen is called unknown.
"""

from datetime import UTC, datetime

from scaler.core.decision import Decision, Term

#: Width of the labels before the colon, so that what they name stands in one column.
_LABEL_WIDTH = 9


def explain(decision: Decision, now: float, bounds: tuple[int, int]) -> tuple[str, ...]:
    """The lines that answer "why this number?", headline first, the rest indented by two blanks.

    Args:
        decision: what was decided.
        now: seconds since the epoch, for ages and waiting times.
        bounds: the policy's (min, max) replicas.
    """
    return (
        _headline(decision),
        *_terms(decision),
        _line("limit", _limit(decision)),
        *_next_step(decision, now),
        *_drain(decision, now),
        _line("data", _quality(decision)),
        *(_line("gap", gap) for gap in decision.gaps),
        _line("active", f"{'yes' if decision.active else 'no'}: {decision.active_because}"),
        _line("reading", _reading(decision, now)),
        *_held(decision),
        *_wait(decision),
        *_times(decision),
        *_cluster(decision),
        _line("decided", f"{_moment(decision.decided_at)}, {_ago(now - decision.decided_at)}"),
        _line("policy", f"{decision.policy}, min {bounds[0]}, max {bounds[1]}"),
    )


def _headline(decision: Decision) -> str:
    noun = "replica" if decision.desired == 1 else "replicas"
    return (
        f"{decision.worker_class}: {decision.desired} {noun} (was {decision.previous}),"
        f" recommendation {decision.recommendation} from {decision.winner}"
    )


def _line(label: str, text: str) -> str:
    return f"  {label + ':':<{_LABEL_WIDTH}}{text}"


def _terms(decision: Decision) -> tuple[str, ...]:
    width = max((len(term.name) for term in decision.terms), default=0)
    return tuple(_term(term, width, won=term.name == decision.winner) for term in decision.terms)


def _term(term: Term, width: int, *, won: bool) -> str:
    replicas = "–" if term.replicas is None else f"{term.replicas:.2f}"
    return f"  {'→' if won else ' '} {term.name:<{width}} {replicas:>8}  {term.formula}"


def _limit(decision: Decision) -> str:
    if decision.limit == "none":
        return "none, the replicas follow the recommendation"
    return f"{decision.limit}: {decision.limit_detail}" if decision.limit_detail else decision.limit


def _next_step(decision: Decision, now: float) -> tuple[str, ...]:
    """When the replicas may move on; nothing to say once the recommendation is reached."""
    if decision.next_step_at is not None:
        wait = decision.next_step_at - now
        when = f"in {_span(wait)}" if wait > 0 else "due now"
        return (_line("next", f"step allowed at {_moment(decision.next_step_at)}, {when}"),)
    if decision.desired == decision.recommendation and decision.limit != "data":
        return ()
    if decision.limit == "data":
        return (_line("next", "no step before the data is fresh again"),)
    return (_line("next", f"no step while {decision.limit} holds"),)


def _drain(decision: Decision, now: float) -> tuple[str, ...]:
    """A step down that comes within seconds, or that waits for tasks which it would kill."""
    lines = []
    if decision.stepping_down_to is not None:
        text = f"step down to {decision.stepping_down_to} within seconds"
        if decision.costs:
            costs = [cost for _, cost in decision.costs]
            idle = sum(cost <= 0 for cost in costs)
            text += f"; of {len(costs)} pods {idle} are idle and go first, the busiest costs {max(costs)}"
        lines.append(text)
    if decision.waiting_since is not None:
        lines.append(
            f"a step down has waited for {_span(max(0.0, now - decision.waiting_since))}"
            " for tasks that it would kill"
        )
    return tuple(_line("drain", line) for line in lines)


def _quality(decision: Decision) -> str:
    return ": ".join((decision.quality, *filter(None, ["; ".join(decision.quality_reasons)])))


def _reading(decision: Decision, now: float) -> str:
    if decision.sampled_at is None:
        return "nothing has been read yet"
    return (
        f"{_count(decision.ready)} ready, {_interval(decision.running)} running,"
        f" {_interval(decision.backlog)} backlog, read {_ago(now - decision.sampled_at)}"
    )


def _held(decision: Decision) -> tuple[str, ...]:
    """What workers hold, where there is anything to tell beside what runs."""
    if decision.prefetched is None or decision.eta_held is None:
        return ()
    parts = [
        f"{_interval(decision.prefetched)} prefetched",
        f"{_interval(decision.eta_held)} held for their ETA",
    ]
    if decision.due_soon:
        parts.append(f"{decision.due_soon} due before a new pod could start")
    if decision.stuck:
        parts.append(f"{decision.stuck} stuck")
    return (_line("held", ", ".join(parts)),)


def _wait(decision: Decision) -> tuple[str, ...]:
    if decision.wait is None or not decision.ready:
        return ()
    least, most = decision.wait
    if most is None:
        return (_line("wait", f"the oldest ready task has waited {_span(least)} or more"),)
    bounds = _span(least) if _span(least) == _span(most) else f"{_span(least)} to {_span(most)}"
    return (_line("wait", f"the oldest ready task has waited {bounds}"),)


def _times(decision: Decision) -> tuple[str, ...]:
    if not decision.service_time:
        return ()
    return (
        _line(
            "times",
            f"a task takes {decision.service_time:.3g} s ({decision.service_source}),"
            f" a pod {decision.lead_time:.3g} s to start ({decision.lead_source})",
        ),
    )


def _cluster(decision: Decision) -> tuple[str, ...]:
    """What the cluster has made of earlier decisions, and what keeps it from more."""
    parts = []
    if decision.replicas_seen is not None:
        parts.append(f"{decision.replicas_seen} replicas asked for")
    if decision.pods is not None:
        ready, starting = decision.pods
        parts.append(f"pods: {ready} ready, {starting} starting")
    lines = ["; ".join(parts)] if parts else []
    return tuple(_line("cluster", line) for line in (*lines, *decision.hindrances))


def _count(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _interval(bounds: tuple[int, int] | None) -> str:
    if bounds is None:
        return "unknown"
    low, high = bounds
    return str(low) if low == high else f"{low}–{high}"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(seconds: float) -> str:
    return f"{_span(max(0.0, seconds))} ago"


def _span(seconds: float) -> str:
    """`0.4 s`, `58 s`, `9 min 58 s`, `2 h 5 min`: two units at the most."""
    if round(seconds, 1) < 10:  # noqa: PLR2004 - tenths matter to ages below 10 s only
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit} {rest // smaller} {name}" if rest >= smaller else f"{count} {unit}"
    return f"{whole} s"
