"""A report's points thinned out for drawing: few enough for a page, and no peak is lost.

Each bucket keeps the highest backlog and wait of its time, and the last of what is a level
(pods, rejected so far), so that a line drawn through the buckets never looks better than the run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from scaler.sim.report import Point, Report

#: Buckets of a chart: about one for every 1.5 units of its width.
MOST_BUCKETS = 480
#: Width of a bucket where the report is short; reports have a point every 5 s.
LEAST_WIDTH = 5.0


@dataclass(frozen=True, slots=True)
class Series:
    """One run over time; every tuple has one value per bucket, the first bucket begins at 0."""

    #: Seconds per bucket.
    width: float
    backlog: tuple[float, ...]
    running: tuple[float, ...]
    wait: tuple[float, ...]
    rejected: tuple[float, ...]
    desired: tuple[float, ...]
    spec: tuple[float, ...]
    ready: tuple[float, ...]
    limit: tuple[str, ...]

    @property
    def times(self) -> tuple[float, ...]:
        """Seconds at which each bucket begins."""
        return tuple(n * self.width for n in range(len(self.backlog)))


def bucket_width(duration: float) -> float:
    """Seconds per bucket, a multiple of 5 s."""
    return max(LEAST_WIDTH, LEAST_WIDTH * math.ceil(duration / MOST_BUCKETS / LEAST_WIDTH))


def thin(report: Report, width: float) -> Series:
    """The report in buckets of `width` seconds; a bucket without a point repeats the one before."""
    buckets: list[Sequence[Point]] = []
    for number, members in groupby(report.points, key=lambda point: math.floor(point.t / width)):
        while buckets and len(buckets) < number:
            buckets.append(buckets[-1][-1:])
        buckets.append(tuple(members))
    last = [points[-1] for points in buckets]
    return Series(
        width=width,
        backlog=tuple(float(max(point.backlog for point in points)) for points in buckets),
        running=tuple(float(max(point.running for point in points)) for points in buckets),
        wait=tuple(max(point.wait for point in points) for points in buckets),
        rejected=tuple(float(point.rejected) for point in last),
        desired=tuple(float(point.desired) for point in last),
        spec=tuple(float(point.spec) for point in last),
        ready=tuple(float(point.ready) for point in last),
        limit=tuple(next((p.limit for p in points if p.limit != "none"), "none") for points in buckets),
    )
