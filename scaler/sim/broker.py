"""One queue as a broker keeps it: first in, first out per priority, with limit, overflow and TTL.

RabbitMQ's rules: the length limit counts ready messages only, what a worker gives back goes to its
old place and isn't limited, and a message expires when it has come to the front.
"""

from collections import deque

from scaler.core.policy.worker import Limits


class BrokerQueue:
    """Ready messages (task numbers) of one queue, and the counts that a broker keeps."""

    def __init__(self, limits: Limits, priorities: set[int], *, lowest_first: bool = False) -> None:
        self.limits = limits
        #: Lanes by priority in the order in which they are served: RabbitMQ takes 9 first, Redis 0.
        self._lanes: dict[int, deque[int]] = {
            level: deque() for level in sorted(priorities or {0}, reverse=not lowest_first)
        }
        self._only = next(iter(self._lanes.values())) if len(self._lanes) == 1 else None
        self._cap = limits.max_length
        self._refuses = limits.overflow != "drop-head"
        self.ready = 0
        self.published = self.delivered = self.redelivered = self.acked = 0
        #: Delivered and not acknowledged.
        self.unacked = 0

    def push(self, task: int, priority: int) -> int | None:
        """Publish; returns the task that the limit costs (the new one, or the oldest), or None."""
        self.published += 1
        victim = None
        if self._cap is not None and self.ready >= self._cap:
            if self._refuses:
                return task
            victim = self._oldest_lane().popleft()
            self.ready -= 1
        (self._only if self._only is not None else self._lanes[priority]).append(task)
        self.ready += 1
        return victim

    def pop(self) -> int:
        """Deliver the next message."""
        lane = self._only if self._only is not None else self._first_lane()
        self.ready -= 1
        self.delivered += 1
        self.unacked += 1
        return lane.popleft()

    def drop_head(self, priority: int) -> None:
        """The front of a lane is gone (expired)."""
        self._lanes[priority].popleft()
        self.ready -= 1

    def give_back(self, tasks: list[int], priorities: list[int] | None) -> None:
        """Delivered messages return to the front in their old order."""
        for task in sorted(tasks, reverse=True):
            lane = self._lanes[priorities[task]] if priorities else next(iter(self._lanes.values()))
            lane.appendleft(task)
        self.ready += len(tasks)
        self.unacked -= len(tasks)
        self.redelivered += len(tasks)

    def ack(self) -> None:
        """One delivered message is done with."""
        self.unacked -= 1
        self.acked += 1

    def heads(self) -> list[tuple[int, int]]:
        """(priority, task at the front) of each lane that isn't empty."""
        return [(level, lane[0]) for level, lane in self._lanes.items() if lane]

    def waiting(self) -> list[int]:
        """All ready tasks."""
        return [task for lane in self._lanes.values() for task in lane]

    def by_priority(self) -> tuple[tuple[int, int], ...]:
        """(priority, ready messages), lowest number first."""
        return tuple(sorted((level, len(lane)) for level, lane in self._lanes.items() if lane))

    def _first_lane(self) -> deque[int]:
        return next(lane for lane in self._lanes.values() if lane)

    def _oldest_lane(self) -> deque[int]:
        """Drop-head takes from the lowest priority first."""
        return next(lane for lane in reversed(self._lanes.values()) if lane)
