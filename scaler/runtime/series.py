"""The series of a metric by class: found without a look at those of all others, and gone with their class."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from prometheus_client import Gauge
from prometheus_client.metrics import MetricWrapperBase

from scaler.runtime.board import Key

Family = TypeVar("Family", bound=MetricWrapperBase)


class Series(Generic[Family]):
    """Remembers which series it has made: the client library goes through all of a metric to remove one."""

    def __init__(self, family: Family) -> None:
        """`family`: a metric whose first two labels are policy and worker class."""
        self._family = family
        self._made: dict[Key, dict[tuple[str, ...], Family]] = {}

    def of(self, key: Key, *labels: str) -> Family:
        """One series of a class, by its further labels."""
        made = self._made.setdefault(key, {})
        if labels not in made:
            made[labels] = self._family.labels(*key, *labels)
        return made[labels]

    def forget(self, key: Key, which: Callable[[tuple[str, ...]], bool] = lambda _: True) -> None:
        """Remove the series of a class, or `which` of them by their further labels."""
        made = self._made.get(key, {})
        for labels in [labels for labels in made if which(labels)]:
            self._family.remove(*key, *labels)
            del made[labels]
        if not made:
            self._made.pop(key, None)


def show(series: Series[Gauge], key: Key, values: Mapping[tuple[str, ...], float]) -> None:
    """Set gauges of a class; what isn't among the values can't be seen any more, and isn't left standing."""
    series.forget(key, lambda labels: labels not in values)
    for labels, value in values.items():
        series.of(key, *labels).set(value)
