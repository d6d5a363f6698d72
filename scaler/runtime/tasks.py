"""The tasks that workers report as ended, as counters: the reports are sums per worker that may restart."""

from collections.abc import Iterable

from scaler.core.observation import WorkerReport
from scaler.runtime.board import Key
from scaler.runtime.metrics import Metrics


class TaskCounts:
    """Adds what each worker's sums have grown by since the last tick."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
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
        """Drop the memory of a class that is gone."""
        self._last.pop(key, None)

    def _add(self, key: Key, last: WorkerReport, report: WorkerReport) -> None:
        metrics = self._metrics
        failed = max(0, report.failed - last.failed)
        finished = max(0, report.finished - last.finished)
        if not finished and report.latencies == last.latencies:
            return
        metrics.tasks_total.labels(*key, "failed").inc(failed)
        metrics.tasks_total.labels(*key, "succeeded").inc(max(0, finished - failed))
        metrics.task_runtime_seconds_total.labels(*key).inc(max(0.0, report.runtime - last.runtime))
        metrics.task_latency_seconds_total.labels(*key).inc(max(0.0, report.latency - last.latency))
        metrics.task_latency_tasks_total.labels(*key).inc(max(0, report.latencies - last.latencies))
