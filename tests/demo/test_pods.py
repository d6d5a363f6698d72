"""Worker processes come and go as pods do."""

from collections.abc import Callable

import pytest

from scaler.demo.pods import GRACE_SECONDS, Deployment
from scaler.demo.processes import DemoError


class FakeChild:
    """A worker that runs until the test ends it."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.signals: list[str] = []

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")
        self.exit_code = -9

    def require_running(self) -> None:
        if self.exit_code is not None:
            raise DemoError(f"ended by itself with {self.exit_code}")


class Stage:
    """A deployment, its clock and its workers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.children: dict[str, FakeChild] = {}
        start: Callable[[str], object] = self._start
        self.deployment = Deployment(start, lambda: self.now)  # type: ignore[arg-type]  # a fake child

    def _start(self, name: str) -> FakeChild:
        self.children[name] = FakeChild()
        return self.children[name]

    @property
    def serving(self) -> list[str]:
        return [pod.name for pod in self.deployment.serving]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_scaling_up_starts_what_is_missing_and_no_more(stage: Stage) -> None:
    stage.deployment.scale(1)
    stage.deployment.scale(4)
    stage.deployment.scale(4)
    assert stage.serving == ["pod-1", "pod-2", "pod-3", "pod-4"]


def test_the_newest_pods_go_first_and_may_finish_their_tasks(stage: Stage) -> None:
    stage.deployment.scale(4)
    stage.deployment.scale(2)
    stage.deployment.reap()
    assert stage.serving == ["pod-1", "pod-2"]
    assert [pod.name for pod in stage.deployment.stopping] == ["pod-3", "pod-4"]
    assert stage.children["pod-4"].signals == ["TERM"]

    stage.children["pod-4"].exit_code = 0
    stage.deployment.reap()
    assert [pod.name for pod in stage.deployment.stopping] == ["pod-3"]


def test_a_pod_that_comes_back_is_a_new_one(stage: Stage) -> None:
    stage.deployment.scale(2)
    stage.deployment.scale(1)
    stage.deployment.scale(2)
    assert stage.serving == ["pod-1", "pod-3"]


def test_a_pod_is_killed_when_its_grace_is_over_and_not_before(stage: Stage) -> None:
    stage.deployment.scale(2)
    stage.deployment.scale(1)
    stage.now = GRACE_SECONDS
    stage.deployment.reap()
    assert stage.children["pod-2"].signals == ["TERM"]

    stage.now = GRACE_SECONDS + 0.1
    stage.deployment.reap()
    assert stage.children["pod-2"].signals == ["TERM", "KILL"]
    assert [pod.killed for pod in stage.deployment.pods] == [False, True]


def test_a_pod_that_ends_by_itself_ends_the_demo(stage: Stage) -> None:
    stage.deployment.scale(1)
    stage.children["pod-1"].exit_code = 1
    with pytest.raises(DemoError, match="ended by itself with 1"):
        stage.deployment.reap()


def test_pod_seconds_count_a_stopping_pod_until_it_is_gone(stage: Stage) -> None:
    stage.deployment.scale(2)  # at 0 s
    stage.now = 10
    stage.deployment.scale(1)
    stage.now = 13
    stage.children["pod-2"].exit_code = 0
    stage.deployment.reap()
    stage.now = 20
    assert stage.deployment.pod_seconds() == 20 + 13


def test_the_peak_stays_when_the_pods_have_gone(stage: Stage) -> None:
    for replicas in (1, 4, 3, 1):
        stage.deployment.scale(replicas)
    assert stage.deployment.peak == 4
