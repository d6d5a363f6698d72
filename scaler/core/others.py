"""Workers on the class's queues that aren't its own pods: capacity that somebody else runs.

A Deployment without a scaler beside the scaled one, or a second ScaledObject on the same queue: each
scaler sees the whole queue, and would size for all of it. RabbitMQ tells how many workers listen, the
heartbeats (else the cluster) how many of them are ours; the rest are the others.

They count once they have been there throughout 3 min, which a rollout's surge, a worker in its warm
shutdown or the two connections of one that reconnects hardly last (RabbitMQ closes a dead connection
after 1 to 2 min of missed heartbeats), and no longer than they are seen: with the first reading that
shows fewer, they are fewer.

Two scalers that count each other must neither both rise nor both fall on account of the other. Up: what
the others can't do is ours, all of it. Down: no scaler goes below its share, so that all together stay
enough even if they step at the same moment (`share`).
"""

import math
from dataclasses import dataclass

from scaler.core.observation import Interval

#: How long others must have been seen before they count.
STEADY_SECONDS = 180.0
STEP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Others:
    """Memory: the workers of others that count, and the least seen for certain per 10 s, oldest first."""

    count: int = 0
    seen: tuple[tuple[float, int], ...] = ()


def observe(memory: Others, *, at: float, listening: int | None, own: Interval | None) -> Others:
    """The memory after a reading.

    Args:
        memory: before it.
        at: when it was made, seconds since the epoch.
        listening: workers on the queues, everybody's; None where nothing tells.
        own: the class's own among them, (least, most); None where they can't be told apart.
    """
    if listening is None or own is None:
        return Others()
    least, most = max(0, listening - own[1]), max(0, listening - own[0])
    start = math.floor(at / STEP_SECONDS) * STEP_SECONDS
    seen = memory.seen
    if seen and seen[-1][0] == start:
        seen = (*seen[:-1], (start, min(seen[-1][1], least)))
    elif seen and not 0 < start - seen[-1][0] <= STEADY_SECONDS / 3:
        seen = ((start, least),)  # what wasn't watched wasn't steady
    else:
        seen = (*seen, (start, least))
    seen = tuple(step for step in seen if step[0] > at - STEADY_SECONDS - STEP_SECONDS)
    steady = min(count for _, count in seen) if seen[0][0] <= at - STEADY_SECONDS else 0
    return Others(min(most, max(memory.count, steady)), seen)


def share(needed: float, *, own: int, others: int) -> float:
    """How many of the needed pods are this class's to run, when `own` of theirs and `others` work.

    The larger of what the others can't do, and our part of what all of us do: if everybody keeps to the
    part, the sum is what is needed. So there is no step up while all together are enough, and no step
    down that isn't safe beside everybody's own.
    """
    own = max(own, 1)
    return max(needed - others, needed * (own / (own + others))) if needed > 0 else needed
