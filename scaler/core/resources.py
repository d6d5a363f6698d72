"""CPU and memory as reasons for more pods, by the HPA's own formula; never as reasons for fewer.

Source: kube-controller-manager, replica_calculator.go (GetResourceReplicas): usage ÷ target within
10 % of 1 changes nothing, and on the way up pods that weren't measured count as idle. A term of the
decision is one opinion among several and the largest wins, so a low utilization removes nothing.

Utilization says how hard pods work, not whether they are enough: a gevent pod whose CPU is busy
while nothing waits serves everybody, so there it counts only when something waits.
"""

import math

from scaler.core.decision import Term
from scaler.core.observation import Utilization
from scaler.core.policy import WorkerPolicy

#: kube-controller-manager --horizontal-pod-autoscaler-tolerance.
TOLERANCE = 0.1
#: metrics-server scrapes every 15 s; what is older than four of them says nothing about now.
STALE_SECONDS = 60.0
#: Their tasks wait for others most of the time.
IO_POOLS = frozenset({"gevent", "eventlet"})


def resources(worker: WorkerPolicy, seen: Utilization | None, *, pods: int, waiting: int, now: float) -> Term:
    """Replicas that the busiest resource asks for.

    Args:
        worker: its `resources` are targets in percent of the pods' requests.
        seen: what was measured; None: no utilization is read.
        pods: that work now.
        waiting: tasks that wait for a slot.
        now: seconds since the epoch.
    """
    targets = [
        (name, target / 100, None if seen is None else getattr(seen, name))
        for name, target in (("cpu", worker.resources.cpu), ("memory", worker.resources.memory))
        if target is not None
    ]
    if not targets:
        return Term("resources", None, "the policy sets no cpu or memory target")
    if seen is None:
        return Term("resources", None, "no utilization is read")
    if now - seen.at > STALE_SECONDS:
        return Term("resources", None, f"the utilization is {now - seen.at:.0f} s old")
    if worker.pool in IO_POOLS and not waiting:
        return Term("resources", None, f"nothing waits, so that busy {worker.pool} pods are no lack of pods")
    opinions = [
        _opinion(name, usage, target, measured=seen.pods, pods=max(pods, seen.pods))
        for name, target, usage in targets
        if usage is not None and seen.pods > 0
    ]
    if not opinions:
        return Term("resources", None, "no pod's utilization is known")
    replicas, formula = max(opinions, key=lambda opinion: opinion[0])
    return Term("resources", replicas, formula)


def _opinion(name: str, usage: float, target: float, *, measured: int, pods: int) -> tuple[float, str]:
    """(replicas, the sum in words) of one resource."""
    ratio, among = usage / target, measured
    if ratio > 1 and pods > measured:
        ratio, among = ratio * measured / pods, pods
        # Unmeasured pods count as idle; if that turns the verdict, nothing moves.
        ratio = max(ratio, 1.0)
    words = f"{name} {usage:.0%} of requests on {measured} pods, target {target:.0%}"
    if abs(ratio - 1) <= TOLERANCE + 1e-9:
        return float(pods), f"{words}: within {TOLERANCE:.0%}, {pods} pods are right"
    if math.isinf(ratio) or math.isnan(ratio):
        return float(pods), f"{words}: not a number"
    return among * ratio, f"{words}: {among} × {ratio:.3g} = {among * ratio:.2f}"
