"""One scale of priorities for both brokers: 9 runs first, as on RabbitMQ.

kombu's Redis transport has it the other way round (0 runs first) and keeps a list for a few
steps only: a number falls to the step at or below it. So the policy's 9 is Redis' 0.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

#: The most urgent level of a policy.
HIGHEST = 9

BrokerKind = Literal["rabbitmq", "redis"]


def number_on(kind: BrokerKind, level: int) -> int:
    """What the application publishes as `priority` for a level of the policy."""
    return HIGHEST - level if kind == "redis" else level


def names_by_step(priorities: Mapping[str, int], steps: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Which of the policy's priorities land in each of kombu's Redis lists, most urgent first."""
    named: dict[int, tuple[str, ...]] = dict.fromkeys(sorted(steps), ())
    for name, level in sorted(priorities.items(), key=lambda item: -item[1]):
        number = number_on("redis", level)
        # kombu takes the first step for a number below all of them.
        step = max((step for step in named if step <= number), default=min(named))
        named[step] += (name,)
    return named
