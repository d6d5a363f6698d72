"""The real service as a process of its own, and the questions that the demo asks it over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from scaler.core.decision import Decision
from scaler.demo import names
from scaler.demo.broker import free_port
from scaler.demo.processes import Child, Children, DemoError, python

POLICY_FILE = Path(__file__).with_name("policy.yaml")
#: Seconds until the service must be ready; it takes 1 to 2, more while pods start beside it.
START_TIMEOUT = 30.0
#: Seconds for an orderly end (it tells KEDA's streams and saves its state) before it is killed.
STOP_TIMEOUT = 8.0
ANSWER_TIMEOUT = 2.0


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
                    f"{self.child.tail()}"
                )
            await asyncio.sleep(0.1)

    async def decision(self, worker_class: str) -> Decision | None:
        """Its latest decision on a class; None if it didn't answer or hasn't decided yet."""
        self.child.require_running()
        try:
            async with self._session.get(f"{self._http_url}/api/v1/workers") as answer:
                answer.raise_for_status()
                workers = (await answer.json())["workers"]
        except (aiohttp.ClientError, TimeoutError):
            return None
        for worker in workers:
            if worker["worker_class"] == worker_class:
                return Decision.from_dict(worker)
        return None

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
    child = children.start("service", command, {names.BROKER_VARIABLE: broker_url})
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Service(child, grpc_address, f"http://{http_address}", session)
        await asyncio.to_thread(child.end, STOP_TIMEOUT)
