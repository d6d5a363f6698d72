"""The real service as a process of its own, and the questions that the demo asks it over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from scaler.api.workers import decision_of
from scaler.core.decision import Decision
from scaler.demo import names
from scaler.demo.broker import free_port
from scaler.demo.processes import Child, Children, DemoError, python, tail

#: Its log is `service.log`.
NAME = "service"
POLICY_FILE = Path(__file__).with_name("policy.yaml")
#: Seconds until the service must be ready; it takes 1 to 2, more while pods start beside it.
START_TIMEOUT = 30.0
#: Seconds for an orderly end before it is killed.
STOP_TIMEOUT = 5.0
ANSWER_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision, and the lines that `celery-scaler explain` prints about it."""

    decision: Decision
    why: tuple[str, ...]


class Service:
    """A running service."""

    def __init__(
        self, child: Child, grpc_address: str, http_url: str, session: aiohttp.ClientSession
    ) -> None:
        self.child = child
        self.grpc_address = grpc_address
        self._http_url = http_url
        self._session = session

    async def ready(self) -> None:
        """Wait until it is ready to answer KEDA.

        Raises:
            DemoError: it ended or took too long; the text has the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not await self._is_ready():
            self.child.require_running()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the service wasn't ready within {START_TIMEOUT:g} s; the end of {self.child.log}:\n"
                    f"{tail(self.child.log)}"
                )
            await asyncio.sleep(0.1)

    async def explain(self, worker_class: str) -> Explained | None:
        """Its latest decision on a class; None if it didn't answer or hasn't decided yet.

        Raises:
            DemoError: it isn't running any more.
        """
        self.child.require_running()
        try:
            async with self._session.get(f"{self._http_url}/api/v1/workers/{worker_class}") as answer:
                answer.raise_for_status()
                document = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        decision = decision_of(document)
        return None if decision is None else Explained(decision, tuple(document["why"]))

    async def _is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self._http_url}/readyz") as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def running_service(children: Children, broker_url: str) -> AsyncIterator[Service]:
    """Start `serve` with the demo's policy on free loopback ports; ended in order with the block."""
    grpc_address, http_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    command = python("scaler", "serve", "--policies", str(POLICY_FILE))
    command += ["--grpc-address", grpc_address, "--http-address", http_address]
    # No endpoints to wait for: nobody but the demo calls.
    command += ["--drain", "0", "--grace", "1"]
    child = children.start(NAME, command, {names.BROKER_VARIABLE: broker_url})
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Service(child, grpc_address, f"http://{http_address}", session)
        await asyncio.to_thread(child.end, STOP_TIMEOUT)
