"""The series of a metric by class: what one class shows and no longer shows, beside another one."""

from prometheus_client import CollectorRegistry, Gauge

from scaler.runtime.series import Series, show

IO, CPU = ("examx", "io"), ("examx", "cpu")


def test_what_is_no_longer_told_goes_and_nothing_of_another_class() -> None:
    registry = CollectorRegistry()
    family = Gauge("messages", "", ("policy", "worker_class", "state"), registry=registry)
    series = Series(family)

    def shown() -> dict[tuple[str, str], float]:
        samples = [sample for metric in registry.collect() for sample in metric.samples]
        return {(one.labels["worker_class"], one.labels["state"]): one.value for one in samples}

    show(series, IO, {("ready",): 3, ("running",): 2})
    show(series, CPU, {("ready",): 5})
    assert shown() == {("io", "ready"): 3, ("io", "running"): 2, ("cpu", "ready"): 5}
    show(series, IO, {("ready",): 4})
    assert shown() == {("io", "ready"): 4, ("cpu", "ready"): 5}
    series.forget(IO)
    assert shown() == {("cpu", "ready"): 5}
    show(series, IO, {("ready",): 1})
    assert shown() == {("io", "ready"): 1, ("cpu", "ready"): 5}, "a class that comes back begins anew"
