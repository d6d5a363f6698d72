"""What tests of RabbitMQ share: a producer, a look at one queue, an HTTP API with written answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aiohttp import web

from scaler.core.observation import QueueReading
from scaler.sources.base import QueueSource
from scaler.testing.servers import free_port


async def publish(channel: aio_pika.abc.AbstractChannel, queue: str, count: int) -> None:
    """Declare a durable queue and put messages into it, confirmed."""
    await channel.declare_queue(queue, durable=True)
    for _ in range(count):
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key=queue)


async def one(source: QueueSource, queue: str, now: float = 1_750_000_000.0) -> QueueReading:
    """The reading of one queue, from a sweep of its own."""
    (reading,) = (await source.sample([queue], now)).queues
    return reading


class FakeManagement:
    """RabbitMQ's HTTP API for brokers and faults that can't be had on a test machine."""

    def __init__(self) -> None:
        self.url = ""
        #: Answers of the list with totals, of the list of statistics, and of the rest by path.
        self.totals: object = []
        self.statistics: object = []
        self.overview: object = {}
        self.connections: object = []
        self.alarms: object = {}
        #: HTTP status of the alarm check, and of everything else.
        self.health = 200
        self.status = 200
        #: It takes questions and answers none until `released`.
        self.hangs = False
        self.released = asyncio.Event()
        #: Paths that were asked for, in order; "totals" for the list with totals.
        self.calls: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeManagement"]:
        """Listens on a port of loopback; `url` is then known."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            self.released.set()
            await runner.cleanup()

    def asked(self, part: str) -> int:
        """How often something was asked for."""
        return sum(part in call for call in self.calls)

    async def _answer(self, request: web.Request) -> web.Response:
        totals = "enable_queue_totals" in request.query
        self.calls.append("totals" if totals else request.path)
        if self.hangs:
            await self.released.wait()
        if "health" in request.path:
            return web.json_response(self.alarms, status=self.health)
        answers = {"overview": self.overview, "nodes": [], "connections": self.connections}
        last = request.path.rsplit("/", 1)[-1]
        if "/queues/" in request.path:
            return web.json_response(self.totals if totals else self.statistics, status=self.status)
        return web.json_response(answers.get(last, []), status=self.status)
