"""The measurements as docs/accuracy.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.accuracy.measures import Errors, Shares
from loadtest.accuracy.scenarios import Countdown, ServiceTime

Results = Mapping[str, Mapping[str, Any]]

_INTRODUCTION = """\
# How true the readings are

What the service said, beside what the workers and the publisher themselves wrote down at the same
moments. Real brokers (Debian's RabbitMQ 3.10.8 and Redis 7.0.15), real Celery workers and the service's
own engine, all on one machine with two cores; {seconds:g} s per row, one reading a second; {machine}.
Remake this page with

```sh
make accuracy
```

No publisher or task was changed for it: no headers, no signals. Workers run with their default heartbeats
(every 2 s) unless a table says otherwise; task events (`-E`) only where named.
"""

_DECOMPOSITION = """
## Running and waiting

Workers with 4 slots, tasks of 0.2 to 1.5 s, about 4 a second with bursts. A class is named by pool,
acknowledgement and prefetch multiplier. *Inside*: share of the readings whose stated interval contains
the truth (± 0.25 s of travel). *Near*: share whose best single number lies within what was true one tick
before to one tick after; the tick is 1 s where the broker shows running tasks itself (late
acknowledgement, prefetch 1), else the 2 s between heartbeats. *Width*: mean width of the interval.
"""

_WAITS = """
## Head-of-line wait

Age of the oldest ready task, on 4 slots of 0.5 s tasks: *steady* 9 a second, *burst* 120 at once every 15
s over 2 a second, *ramp* from 0 to 16 a second. Errors of the middle of the stated interval, readings
with a task waiting only. Redis is read live each second. RabbitMQ's counters move every 5 s, which is the
sampling period of that path.
"""

_SERVICE = """
## Service time

Tasks of 0.4 to 0.6 s on 4 slots, late acknowledgement, Poisson arrivals at 7 a second (88 % busy); with task
events, with heartbeats only, with neither; and with neither at 3.5 a second (*sparse*). Without events
RabbitMQ shows the busy slots once a second only: looks at m busy slots for t seconds are wrong by about
1 ÷ √(m·t) when arrivals are random and slots are idle, 14 % after 50 slot-seconds, 5 % after 400. Redis
tells how long each message was held.
"""

_COUNTDOWN = """
## ETA tasks

1,500 tasks with a countdown of 600 s on one class, 300 with one of 40 s on another (4 slots, 1 s each,
startupTime 10 s; workers with task events). What desired did for the far ones, and when it first rose for
the near ones.
"""


def document(results: Results, machine: str, seconds: float) -> str:
    """The whole page as Markdown."""
    return (
        _INTRODUCTION.format(machine=machine, seconds=seconds)
        + _DECOMPOSITION
        + "".join(_decomposition(broker, rows) for broker, rows in results["decomposition"].items())
        + _WAITS
        + _waits(results["waits"])
        + _SERVICE
        + _service(results["service_times"])
        + _COUNTDOWN
        + _countdown(results["countdown"])
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _decomposition(broker: str, rows: Mapping[str, tuple[Shares, Shares]]) -> str:
    head = ("class", "readings", "running inside", "near", "width", "waiting inside", "near", "width")
    body = [
        (
            *(name, str(running.samples)),
            *(f"{running.inside:.1%}", f"{running.near:.1%}", f"{running.width:.1f}"),
            *(f"{waiting.inside:.1%}", f"{waiting.near:.1%}", f"{waiting.width:.1f}"),
        )
        for name, (running, waiting) in rows.items()
    ]
    return f"\n### {broker}\n{_table(head, body)}"


def _waits(brokers: Mapping[str, Mapping[str, Errors]]) -> str:
    head = ("broker", "pattern", "readings", "median error", "p99 error", "truth inside")
    body = [
        (
            *(broker, pattern, str(errors.samples)),
            *(f"{errors.median:.2f} s", f"{errors.p99:.2f} s", f"{errors.inside:.1%}"),
        )
        for broker, patterns in brokers.items()
        for pattern, errors in patterns.items()
    ]
    return _table(head, body)


def _service(brokers: Mapping[str, Mapping[str, ServiceTime]]) -> str:
    head = ("broker", "workers send", "measured", "true mean", "error", "from")
    body = [
        (
            *(broker, kind, f"{found.measured:.3f} s", f"{found.true:.3f} s"),
            *(f"{found.error:.1%}", found.source),
        )
        for broker, kinds in brokers.items()
        for kind, found in kinds.items()
    ]
    return _table(head, body)


def _countdown(brokers: Mapping[str, Countdown]) -> str:
    head = ("broker", "desired before", "most while 1,500 wait", "first rise for the near ones")
    body = [
        (
            *(broker, str(found.before), str(found.far)),
            "never"
            if found.near is None
            else f"to {found.near[1]}, {found.near[0]:.0f} s before they are due",
        )
        for broker, found in brokers.items()
    ]
    return _table(head, body)
