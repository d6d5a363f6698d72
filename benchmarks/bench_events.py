"""How many Celery events one core takes in, and how long the loop is busy with them in one go.

In memory: the roster alone, and with the JSON around it. Over real brokers of its own on
loopback: a second process floods with what a prefork worker sends (lists of task events), and
with single events as gevent sends them. Events that arrive are counted against the CPU time of
the receiving process, and a probe asks for the loop every 5 ms meanwhile.

    python benchmarks/bench_events.py
"""

import asyncio
import base64
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import aio_pika
import redis

from scaler.core.policy import Broker
from scaler.sources.events import EventReceiver
from scaler.sources.events.messages import Event, body_of, events_in
from scaler.sources.events.roster import Roster
from scaler.testing.rabbitmq import Epmd, RabbitMQServer
from scaler.testing.servers import RedisServer, Server

TASKS = 100_000
WORKERS = 50
SECONDS = 5.0

#: Messages per second that the flood of Redis sends, by events per message.
REDIS_PACE = {24: 7_500, 1: 25_000}


def story(tasks: int) -> Iterator[Event]:
    """What workers tell of so many tasks: three events each."""
    for number in range(tasks):
        common = {
            "hostname": f"celery@worker-{number % WORKERS}",
            "pid": 7,
            "utcoffset": 0.0,
            "clock": number,
            "uuid": f"23066548-fa50-4742-adc1-{number:012}",
            "timestamp": time.time(),
        }
        yield {
            **common,
            "type": "task-received",
            "name": "proj.tasks.send_mail",
            "args": "('somebody@example.org', 'a subject')",
            "kwargs": "{}",
            "root_id": common["uuid"],
            "parent_id": None,
            "retries": 0,
            "eta": None,
            "expires": None,
        }
        yield {**common, "type": "task-started"}
        yield {**common, "type": "task-succeeded", "result": "None", "runtime": 0.25}


def bodies(tasks: int, batch: int) -> list[bytes]:
    events = list(story(tasks))
    if batch == 1:
        return [json.dumps(event).encode() for event in events]
    return [json.dumps(events[at : at + batch]).encode() for at in range(0, len(events), batch)]


def enveloped(body: bytes) -> bytes:
    """As kombu puts it into Redis."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"hostname": "celery@worker-0"},
            "properties": {"delivery_mode": 1, "body_encoding": "base64", "priority": 0},
        }
    ).encode()


def rate(work: Callable[[], int]) -> str:
    began = time.process_time()
    count = work()
    return f"{count / (time.process_time() - began):>12,.0f}"


def in_memory() -> None:
    events = list(story(TASKS))

    def roster() -> int:
        subject = Roster()
        return sum(subject.apply(event, time.time()) for event in events)

    def parsed(messages: list[bytes], *, kombu: bool) -> int:
        subject = Roster()
        return sum(
            subject.apply(event, time.time())
            for message in messages
            for event in events_in(body_of(message) if kombu else message)
        )

    print(f"{'in memory':<34}{'events/CPU-s':>12}")
    print(f"{'roster alone':<34}{rate(roster)}")
    for batch in (24, 1):
        plain = bodies(TASKS, batch)
        wrapped = [enveloped(body) for body in plain]
        amqp = rate(partial(parsed, plain, kombu=False))
        print(f"{f'AMQP bodies, {batch} per message':<34}{amqp}")
        kombu = rate(partial(parsed, wrapped, kombu=True))
        print(f"{f'Redis bodies, {batch} per message':<34}{kombu}")


def flood_redis(port: int, batch: int) -> None:
    messages = [enveloped(body) for body in bodies(3_000, batch)]
    with redis.Redis(port=port) as client:
        while True:
            pipe = client.pipeline(transaction=False)
            began = time.monotonic()
            for message in messages[:100]:
                pipe.publish("/0.celeryev/task.multi", message)
            pipe.execute()
            # Unpaced, Redis would cut the slower subscriber off, as it should.
            time.sleep(max(0.0, 100 / REDIS_PACE[batch] - (time.monotonic() - began)))


def flood_rabbitmq(url: str, batch: int) -> None:
    async def publish() -> None:
        messages = bodies(3_000, batch)
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            exchange = await channel.get_exchange("celeryev", ensure=False)
            while True:
                for message in messages:
                    await exchange.publish(aio_pika.Message(message), "task.multi")

    asyncio.run(publish())


async def received(url: str, flood: Callable[..., None], *arguments: object) -> str:
    """Events per second and per CPU second, and the longest wait for the loop."""
    receiver = EventReceiver(Broker.model_validate({"url": url}), time.time)
    listening = asyncio.create_task(receiver.run())
    async with asyncio.timeout(20):
        while receiver.problem:  # noqa: ASYNC110 - the receiver has no event for it
            await asyncio.sleep(0.05)
    taken = 0
    apply = receiver._roster.apply  # noqa: SLF001 - counted here and nowhere else

    def counted(event: Event, now: float) -> bool:
        nonlocal taken
        taken += 1
        return apply(event, now)

    receiver._roster.apply = counted  # type: ignore[method-assign]  # noqa: SLF001 - as above
    flooding = multiprocessing.get_context("spawn").Process(target=flood, args=arguments)
    flooding.start()
    async with asyncio.timeout(20):
        while not taken:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    before, began, cpu, waits = taken, time.perf_counter(), time.process_time(), []
    while time.perf_counter() - began < SECONDS:
        asked = time.perf_counter()
        await asyncio.sleep(0.005)
        waits.append(time.perf_counter() - asked - 0.005)
    seen, wall, cpu = taken - before, time.perf_counter() - began, time.process_time() - cpu
    problem = receiver.problem
    flooding.kill()
    flooding.join()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    waits.sort()
    return (
        f"{seen / wall:>12,.0f}{seen / cpu:>14,.0f}{1e3 * waits[len(waits) * 99 // 100]:>10.1f}"
        f"{1e3 * waits[-1]:>10.1f}  {problem}"
    )


def over(server: Server, folder: Path) -> None:
    server.start()
    try:
        for batch in (24, 1):
            if isinstance(server, RabbitMQServer):
                server.management("PUT", "/api/exchanges/%2F/celeryev", {"type": "topic", "durable": True})
                line = asyncio.run(received(server.url(), flood_rabbitmq, server.url(), batch))
            else:
                line = asyncio.run(
                    received(f"redis://127.0.0.1:{server.port}/0", flood_redis, server.port, batch)
                )
            print(f"{f'{folder.name}, {batch} per message':<34}{line}")
    finally:
        server.kill()


def main() -> None:
    """Print one line per case."""
    in_memory()
    print(f"\n{'received':<34}{'events/s':>12}{'per CPU-s':>14}{'lag p99':>10}{'max ms':>10}")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        over(RedisServer(root / "Redis"), root / "Redis")
        epmd = Epmd(root / "epmd")
        try:
            over(RabbitMQServer(root / "RabbitMQ", epmd), root / "RabbitMQ")
        finally:
            epmd.stop()


if __name__ == "__main__":
    main()
