"""Decisions as metrics: what a step down that waits looks like from its first second to its end."""

from dataclasses import replace

from scaler.core.decision import Decision
from scaler.runtime.metrics import Metrics
from scaler.runtime.recording import Recorder

KEY = ("examx", "io")
LABELS = {"policy": "examx", "worker_class": "io"}


def test_a_step_down_that_waits_is_counted_in_seconds_until_it_is_over() -> None:
    metrics = Metrics()
    recorder = Recorder(metrics)
    calm = Decision(*KEY, 1000.0, 3, 3, 2, True, "", "fresh", (), (), "steady", "none", "", None, 999.0)

    def seconds_at(now: float, since: float | None) -> float | None:
        decision = replace(calm, decided_at=now, waiting_since=since)
        recorder.record(decision, own=True)
        return metrics.registry.get_sample_value("celery_scaler_scale_in_waiting_seconds", LABELS)

    assert seconds_at(1000.0, None) == 0
    assert seconds_at(1001.0, 1001.0) == 0
    assert seconds_at(4700.0, 1001.0) == 3699
    assert seconds_at(4701.0, None) == 0
    recorder.forget([KEY], [])
    assert metrics.registry.get_sample_value("celery_scaler_scale_in_waiting_seconds", LABELS) is None
