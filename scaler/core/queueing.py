"""Erlang C: how likely a task waits, and how long, in front of N busy slots."""

import math
from bisect import bisect_left

#: Above this many slots the recursion (one step per slot) gives way to the Halfin-Whitt limit,
#: which is within 1 % of it there.
EXACT_SLOTS = 2000


def wait_probability(slots: int, load: float) -> float:
    """P(wait > 0) in M/M/N (Erlang C) with `slots` servers and `load` erlangs; 1 when overloaded."""
    if load <= 0:
        return 0.0
    if load >= slots:
        return 1.0
    if slots > EXACT_SLOTS:
        beta = (slots - load) / math.sqrt(load)
        density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
        cumulative = (1 + math.erf(beta / math.sqrt(2))) / 2
        return density / (density + beta * cumulative)
    blocking = 1.0
    for servers in range(1, slots + 1):
        blocking = load * blocking / (servers + load * blocking)
    return slots * blocking / (slots - load * (1 - blocking))


def late_share(slots: int, load: float, service_time: float, wait: float, cv: float = 1.0) -> float:
    """P(wait > `wait` seconds) with service times of mean `service_time` seconds.

    Exact for exponential ones (`cv` 1). Others by Allen and Cunneen: waits are longer or shorter by
    (1 + cv²) ÷ 2, so that tasks of equal length wait half as long.

    Args:
        slots: servers.
        load: busy slots.
        service_time: mean, seconds.
        wait: seconds.
        cv: standard deviation of the service time ÷ its mean.
    """
    if load >= slots:
        return 1.0 if load > 0 else 0.0
    pace = (slots - load) / service_time / ((1 + cv * cv) / 2)
    return wait_probability(slots, load) * math.exp(-pace * wait)


def least_pods(
    load: float,
    *,
    slots_per_pod: int,
    utilization: float,
    service_time: float,
    wait: float,
    level: float,
    most: int,
    cv: float = 1.0,
) -> int:
    """The least pods that run `load` slots at `utilization` and start `level` of the tasks within `wait`.

    `most` bounds the search; more than `most` is answered as soon as the load alone asks for it.
    """
    if load <= 0:
        return 0
    by_load = math.ceil(load / utilization / slots_per_pod - 1e-9)
    if by_load >= most:
        return by_load
    candidates = range(by_load, most + 1)
    found = bisect_left(
        candidates,
        x=True,
        key=lambda pods: late_share(pods * slots_per_pod, load, service_time, wait, cv) <= 1 - level,
    )
    return by_load + found
