"""KEDA and the HPA, played: what they do with the service's answer, from the question to the replicas.

Every sync asks the service as KEDA does (`keda_client.py`) and computes as the HPA does for an
external metric with AverageValue and target 1: replicas = ceil(value), within min and max. The
tolerance is 0 and the behavior wide open, as the manifests set them: pacing is the service's own
business. An error changes nothing, which is how the HPA freezes.
"""

import asyncio
import math
from dataclasses import dataclass
from typing import Protocol

import grpc

#: Seconds between two syncs. The real controller takes 15; half of that would be lost here at every step.
SYNC_SECONDS = 2.0
REAL_SYNC_SECONDS = 15.0
#: Seconds after which a sync does without an answer; Kubernetes' API server waits 60.
ANSWER_TIMEOUT = 5.0


class Trigger(Protocol):
    """What KEDA asks; see `KedaTrigger`."""

    async def poll(self) -> tuple[float, bool]:
        """Value of the metric, and whether the class is active."""
        ...


@dataclass(frozen=True, slots=True)
class Sync:
    """What one sync came to."""

    replicas: int
    #: As answered; None when there was no answer.
    value: float | None
    #: Why there was no answer, for people; empty when all is well.
    error: str = ""


class Autoscaler:
    """The HPA of one Deployment. KEDA's own part, 0 to 1 and back, never comes: min is at least 1."""

    def __init__(self, trigger: Trigger, low: int, high: int) -> None:
        self._trigger = trigger
        self._low = low
        self._high = high

    async def sync(self, current: int) -> Sync:
        """Ask once, and say how many replicas there should be now."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                value, _active = await self._trigger.poll()
        except TimeoutError:
            return Sync(current, None, f"no answer within {ANSWER_TIMEOUT:g} s")
        except grpc.aio.AioRpcError as error:
            return Sync(current, None, f"{error.code().name}: {error.details()}")
        except ValueError as error:
            return Sync(current, None, str(error))
        return Sync(replicas_for(value, self._low, self._high), value)


def replicas_for(value: float, low: int, high: int) -> int:
    """AverageValue with target 1: KEDA rounds the value to thousandths, the HPA then rounds up."""
    return min(max(math.ceil(round(value * 1000) / 1000), low), high)
