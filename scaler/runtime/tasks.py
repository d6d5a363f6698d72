"""The tasks that workers report as ended, as counters: the reports are sums per worker that may restart."""

from collections.abc import Iterable

from scaler.core.observation import WorkerReport
from scaler.runtime.board import Key
from scaler.runtime.metrics import Metrics
from scaler.runtime.series import Series


class TaskCounts:
    """Adds what each worker's sums have grown by since the last tick."""

    def __init__(self, metrics: Metrics) -> None:
        self._tasks = Series(metrics.tasks_total)
        self._runtime = Series(metrics.task_runtime_seconds_total)
        self._latency = Series(metrics.task_latency_seconds_total)
        self._latencies = Series(metrics.task_latency_tasks_total)
        self._last: dict[Key, dict[str, WorkerReport]] = {}

    def count(self, key: Key, reports: Iterable[WorkerReport]) -> None:
        """Count what is new in the reports of one class."""
        before = self._last.get(key, {})
        after = {report.hostname: report for report in reports}
        for hostname, report in after.items():
            last = before.get(hostname)
            if last is not None and last.since == report.since:
                self._add(key, last, report)
        # A worker that isn't heard for one tick must not have its whole sum counted again.
        self._last[key] = after

    def forget(self, key: Key) -> None:
        """Drop the memory of a class that is gone, and its series."""
        self._last.pop(key, None)
        for series in (self._tasks, self._runtime, self._latency, self._latencies):
            series.forget(key)

    def _add(self, key: Key, last: WorkerReport, report: WorkerReport) -> None:
        failed = max(0, report.failed - last.failed)
        finished = max(0, report.finished - last.finished)
        if not finished and report.latencies == last.latencies:
            return
        self._tasks.of(key, "failed").inc(failed)
        self._tasks.of(key, "succeeded").inc(max(0, finished - failed))
        self._runtime.of(key).inc(max(0.0, report.runtime - last.runtime))
        self._latency.of(key).inc(max(0.0, report.latency - last.latency))
        self._latencies.of(key).inc(max(0, report.latencies - last.latencies))
