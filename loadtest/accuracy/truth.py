"""What really happened, from the publisher's and the workers' own notes."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Truth:
    """Tasks of one class by their moments, in seconds since the epoch, by task number."""

    published: Mapping[int, float]
    started: Mapping[int, float]
    ended: Mapping[int, float]

    @classmethod
    def read(cls, published: Mapping[int, float], log: Path) -> "Truth":
        """Join the publisher's notes with a worker's log (`S number time` and `F number time`)."""
        moments: dict[str, dict[int, float]] = {"S": {}, "F": {}}
        for line in log.read_text().splitlines() if log.exists() else ():
            letter, number, at = line.split()
            moments[letter][int(number)] = float(at)
        return cls(published, moments["S"], moments["F"])

    def running(self, at: float) -> int:
        """Tasks in slots at a moment."""
        return _upto(self.started.values(), at) - _upto(self.ended.values(), at)

    def waiting(self, at: float) -> int:
        """Tasks published and not started."""
        return _upto(self.published.values(), at) - _upto(self.started.values(), at)

    def oldest_wait(self, at: float) -> float | None:
        """Age of the oldest task that is published and not started; None with none waiting."""
        waiting = [
            moment
            for number, moment in self.published.items()
            if moment <= at < self.started.get(number, float("inf"))
        ]
        return at - min(waiting) if waiting else None

    def around(self, kind: str, at: float, margin: float) -> tuple[int, int]:
        """Least and most of `running` or `waiting` between `at - margin` and `at + margin`."""
        count = self.running if kind == "running" else self.waiting
        moments = [at - margin, at + margin]
        for notes in (self.published, self.started, self.ended):
            moments += [moment for moment in notes.values() if at - margin < moment < at + margin]
        counts = [count(moment) for moment in moments]
        return min(counts), max(counts)

    @property
    def mean_runtime(self) -> float:
        """Mean seconds from start to end of the tasks that ended."""
        spans = [ended - self.started[number] for number, ended in self.ended.items()]
        return sum(spans) / len(spans)


def _upto(moments: Iterable[float], at: float) -> int:
    return bisect_right(sorted(moments), at)
