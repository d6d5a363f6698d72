"""Worker processes that stand for pods, started and stopped as Kubernetes does it."""

from collections.abc import Callable
from dataclasses import dataclass

from scaler.demo.processes import Child

#: Seconds from SIGTERM to SIGKILL (terminationGracePeriodSeconds). A task takes 3 s at most.
GRACE_SECONDS = 15.0


@dataclass
class Pod:
    """One worker process. Times are seconds on the deployment's clock."""

    name: str
    child: Child
    started_at: float
    stopping_at: float | None = None
    ended_at: float | None = None
    killed: bool = False


class Deployment:
    """As many worker processes as asked for; the newest go first, and each may finish its tasks."""

    def __init__(self, start: Callable[[str], Child], clock: Callable[[], float]) -> None:
        self._start = start
        self._clock = clock
        #: Every pod that ever was, oldest first.
        self.pods: list[Pod] = []
        #: Most pods that were wanted at the same time.
        self.peak = 0

    @property
    def serving(self) -> list[Pod]:
        """Pods that aren't being stopped, oldest first; their number is the HPA's current replicas."""
        return [pod for pod in self.pods if pod.stopping_at is None]

    @property
    def stopping(self) -> list[Pod]:
        """Pods that finish their tasks."""
        return [pod for pod in self.pods if pod.stopping_at is not None and pod.ended_at is None]

    def scale(self, replicas: int) -> None:
        """Start or stop pods."""
        now = self._clock()
        for _ in range(replicas - len(self.serving)):
            name = f"pod-{len(self.pods) + 1}"
            self.pods.append(Pod(name, self._start(name), now))
        for pod in self.serving[replicas:]:
            pod.child.terminate()
            pod.stopping_at = now
        self.peak = max(self.peak, replicas)

    def reap(self) -> None:
        """Note which pods have ended, and kill those whose grace is over.

        Raises:
            DemoError: a pod ended that nobody had asked to.
        """
        now = self._clock()
        for pod in self.pods:
            if pod.ended_at is not None:
                continue
            if pod.stopping_at is None:
                pod.child.require_running()
                continue
            if now - pod.stopping_at > GRACE_SECONDS and pod.child.exit_code is None:
                pod.child.kill()
                pod.killed = True
            if pod.child.exit_code is not None:
                pod.ended_at = now

    def pod_seconds(self) -> float:
        """Seconds that pods existed, the stopping ones included: what the nodes are paid for."""
        now = self._clock()
        return sum((now if pod.ended_at is None else pod.ended_at) - pod.started_at for pod in self.pods)
