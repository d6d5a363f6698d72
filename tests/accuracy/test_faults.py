"""What goes wrong in production, on real brokers with real workers: it is named and takes no pod away.

Each class asks for more than one pod by real load before its fault strikes. Its policy steps down at
once and by any number, so whatever keeps its replicas is distrust in the data; where the fault
leaves less to do, that it does step down afterwards shows that nothing else kept them.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest
from kombu import Connection
from redis import Redis

from scaler.core.decision import Decision
from scaler.testing import wait_until

#: Slots of each worker, as the conftest starts them.
SLOTS = 4

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    # The first test waits for the start of all brokers and for the workers' heartbeats.
    pytest.mark.timeout(200),
    pytest.mark.asyncio(loop_scope="module"),
]


def unharmed(site: Any, name: str, before: Decision, until: Decision | None = None) -> None:
    """From `before` to `until` the class kept its replicas and stayed active."""
    end = float("inf") if until is None else until.decided_at
    made = [found for found in site.since(name, before) if found.decided_at < end]
    assert len(made) > 1
    fewest = min(made, key=lambda found: found.desired)
    assert fewest.desired >= before.desired, f"{before}\n\n{fewest}"
    assert all(found.active for found in made)


async def needs_less_and_keeps_all(site: Any, name: str, before: Decision) -> None:
    """Nothing waits any more, and yet nothing is taken away."""
    less = await site.until(name, lambda made: made.recommendation < before.desired, "less is needed")
    assert (less.quality, less.limit) == ("hold", "data")
    unharmed(site, name, before)


async def fresh_and_fewer(site: Any, name: str, before: Decision, *, seconds: float = 15) -> None:
    """The data is good again, which is when the class steps down and not earlier."""
    fresh = await site.fresh(name, seconds=seconds)
    unharmed(site, name, before, until=fresh)
    await site.until(name, lambda made: made.desired < before.desired, "a step down")


async def on_both(story: Any, sites: Any) -> None:
    """The same story on both brokers at a time."""
    async with asyncio.TaskGroup() as stories:
        stories.create_task(story(sites.rabbitmq), name="RabbitMQ")
        stories.create_task(story(sites.redis), name="Redis")


async def test_a_worker_host_that_stands_still_is_named_within_10_seconds(steady: Any) -> None:
    async def story(site: Any) -> None:
        before = await site.busy("stopped")
        worker = site.made.workers["stopped"]
        worker.signal(signal.SIGSTOP)
        try:
            held = await site.held("stopped", "1 of 1 workers are silent (stopped@rig)", seconds=10)
            assert "look at these pods" in held.quality_reasons[0]
            # Too few for a purge to be noticed as such.
            await site.purge("stopped")
            await needs_less_and_keeps_all(site, "stopped", before)
        finally:
            worker.signal(signal.SIGCONT)
        await fresh_and_fewer(site, "stopped", before)

    await on_both(story, steady)


async def test_ready_messages_that_nobody_took_are_a_loss_and_no_finished_work(steady: Any) -> None:
    """By a purge, or with their queue, which a living worker makes anew within 10 ms."""
    # How many is the least: what came into the workers' hands since the last count may be among them.
    words = "ready messages vanished undelivered: purged, expired, or taken by others"

    async def story(site: Any, name: str, lose: Any) -> None:
        before = await site.busy(name, waiting=60)
        await lose(name)
        held = await site.held(name, words)
        assert held.recommendation < before.desired
        await site.until(name, lambda made: made.decided_at >= held.decided_at + 3, "3 s pass")
        assert {made.quality for made in site.since(name, held)} == {"hold"}
        unharmed(site, name, before)

    async with asyncio.TaskGroup() as stories:
        stories.create_task(story(steady.rabbitmq, "purged", steady.rabbitmq.purge), name="RabbitMQ, purge")
        stories.create_task(story(steady.redis, "purged", steady.redis.purge), name="Redis, purge")
        stories.create_task(story(steady.rabbitmq, "remade", steady.rabbitmq.delete), name="RabbitMQ, delete")


async def test_a_deleted_queue_is_no_empty_one(steady: Any) -> None:
    site = steady.rabbitmq
    before = await site.busy("deleted")
    # With its worker gone nobody makes it anew.
    await site.stop_worker("deleted")
    before = await site.until(
        "deleted", lambda made: made.ready == before.ready + SLOTS, "all wait", seconds=30
    )
    await site.delete("deleted")
    vanished = await site.held("deleted", "queue deleted has vanished from the broker")
    later = vanished.decided_at + 4
    last = await site.until("deleted", lambda made: made.decided_at >= later, "some seconds pass")
    assert {made.quality for made in site.since("deleted", vanished)} == {"hold"}
    assert "queue deleted has vanished" in " ".join(last.quality_reasons)
    unharmed(site, "deleted", before)
    site.start_worker("deleted")
    await fresh_and_fewer(site, "deleted", before)


async def test_a_queue_that_is_not_yet_there_is_empty_and_counts_once_it_is(steady: Any) -> None:
    site = steady.rabbitmq
    await site.fresh("later")
    missing = await site.fresh("later")
    assert missing.quality_reasons == ("queue later doesn't exist yet",)
    assert (missing.desired, missing.ready, missing.active) == (1, 0, False)
    await site.publish("later", 15)
    counted = await site.until("later", lambda made: made.ready == 15, "it is there", seconds=5)
    assert (counted.desired, counted.quality, counted.quality_reasons) == (4, "fresh", ())
    assert counted.active


async def hidden_and_beside(site: Any, words: str, hide: Callable[[], Callable[[], object]]) -> None:
    """A queue that can't be read any more keeps its class as it is; the class beside it stays fresh."""
    before, _ = await asyncio.gather(site.busy("hidden"), site.busy("beside"))
    show = await asyncio.to_thread(hide)
    try:
        held = await site.held("hidden", words)
        beside = await site.until("beside", lambda made: made.decided_at >= held.decided_at + 3, "3 s pass")
        assert {made.quality for made in site.since("beside", held)} == {"fresh"}
        assert beside.desired > 1
        unharmed(site, "hidden", before)
    finally:
        await asyncio.to_thread(show)


async def test_a_queue_that_rabbitmq_does_not_show_leaves_the_others_fresh(steady: Any) -> None:
    site = steady.rabbitmq

    def hide() -> Callable[[], object]:
        """The same name, and only for this connection."""
        connection = Connection(site.url, connect_timeout=5)
        channel = connection.default_channel
        channel.queue_delete("hidden")
        channel.queue_declare("hidden", exclusive=True, durable=False, auto_delete=False)
        close: Callable[[], object] = connection.close
        return close

    await hidden_and_beside(site, "queue hidden: the broker doesn't tell of it; is it exclusive", hide)


async def test_a_key_of_redis_that_is_no_list_leaves_the_other_queues_fresh(steady: Any) -> None:
    site = steady.redis
    with Redis.from_url(site.url) as client:

        def hide() -> Callable[[], object]:
            client.set("hidden", "no list")
            return lambda: client.delete("hidden")

        await hidden_and_beside(site, "queue hidden: ", hide)


async def test_a_right_that_is_taken_away_is_named_until_it_is_given_back(steady: Any, reader: Any) -> None:
    server = reader.server
    await steady.rabbitmq.busy("beside")
    before = await reader.until("beside", lambda made: made.desired > 1, "more pods for what waits")

    def close_connections() -> None:
        """Those that are open keep their rights."""
        # Once they are closed the broker knows of none.
        with suppress(HTTPError):
            server.management("DELETE", "/api/connections/username/reader")

    async def closed() -> Any:
        await asyncio.to_thread(close_connections)
        return reader.seen("beside").error

    server.management("DELETE", "/api/permissions/faults/reader")
    try:
        await wait_until(closed, timeout=30, description="the user's connections are closed")
        held = await reader.held(
            "beside", "doesn't open virtual host 'faults'; create it, grant rights", seconds=20
        )
        await reader.until("beside", lambda made: made.decided_at >= held.decided_at + 3, "3 s pass")
    finally:
        server.add_permission("faults", "reader")
    back = await reader.fresh("beside")
    unharmed(reader, "beside", before)
    assert back.ready == before.ready


async def test_eta_tasks_that_block_a_quorum_queue_are_recognised_with_the_remedy(steady: Any) -> None:
    """With a direct exchange Celery can't raise the prefetch count: 4 ETA tasks fill it."""
    site = steady.rabbitmq
    await site.heard("eta")
    await site.publish("eta", 16, seconds=1, declare=False)
    await site.until("eta", lambda made: made.desired > 1, "more pods for what waits")
    due = datetime.now(UTC) + timedelta(seconds=300)
    await site.publish("eta", 40, eta=due.isoformat(), declare=False)
    await site.publish("eta", 5, seconds=1, declare=False)
    blocked = await site.held("eta", "4 of 4 slots are idle although ", seconds=25)
    (reason,) = blocked.quality_reasons
    # 40 and 5 but for the 4 that the worker holds.
    assert f"although {blocked.ready} are ready: more pods hardly help" in reason
    assert blocked.ready >= 41
    assert "ETA tasks fill the prefetch (4 unacked)" in reason
    assert "put tasks with eta or countdown into a queue of their own" in reason
    assert "native delayed delivery with a topic exchange" in reason
    await site.until("eta", lambda made: made.decided_at >= blocked.decided_at + 3, "3 s pass")
    assert {made.desired for made in site.since("eta", blocked)} == {blocked.desired}
    unharmed(site, "eta", blocked)


@contextmanager
def full(site: Any) -> Iterator[Redis]:
    """A Redis at maxmemory, whose policy is noeviction."""
    with Redis.from_url(site.url) as client:
        client.config_set("maxmemory", "1mb")
        try:
            yield client
        finally:
            client.config_set("maxmemory", "0")


async def test_a_broker_without_memory_is_suspect_until_it_has_some(fragile: Any) -> None:
    async def on_rabbitmq(site: Any) -> None:
        control = site.server.control
        before = await site.busy("alarmed")
        try:
            await asyncio.to_thread(control, "set_vm_memory_high_watermark", "absolute", "1MB")
            await site.held("alarmed", "broker alarm (memory): publishers are blocked")
            await site.purge("alarmed")
            await needs_less_and_keeps_all(site, "alarmed", before)
        finally:
            await asyncio.to_thread(control, "set_vm_memory_high_watermark", "0.4")
        await fresh_and_fewer(site, "alarmed", before)

    async def on_redis(site: Any) -> None:
        before = await site.busy("alarmed")
        with full(site) as client:
            await site.held("alarmed", "Redis is out of memory: new tasks are refused")
            await site.held("alarmed", "Redis is at maxmemory")
            # A purge is a transaction, which a full Redis refuses.
            client.delete("alarmed")
            await needs_less_and_keeps_all(site, "alarmed", before)
        await fresh_and_fewer(site, "alarmed", before)

    async with asyncio.TaskGroup() as stories:
        stories.create_task(on_rabbitmq(fragile.rabbitmq), name="RabbitMQ")
        stories.create_task(on_redis(fragile.redis), name="Redis")


async def restart(site: Any) -> None:
    """Kill the broker and start it again."""
    await asyncio.to_thread(site.server.kill)
    await wait_until(lambda: site.seen("restarted").error, description="it can't be read")
    await asyncio.to_thread(site.server.start)


async def test_a_rabbitmq_that_is_killed_and_started_again_costs_no_pod(fragile: Any) -> None:
    site = fragile.rabbitmq
    before = await site.busy("restarted")

    def counted() -> bool:
        counters = site.seen("restarted").queues[0].counters
        return counters is not None and counters.delivered >= SLOTS

    await wait_until(counted, timeout=15, description="deliveries are counted")
    await restart(site)
    reset = "counters of queue 'restarted' went back: broker restarted or queue remade"
    await site.held("restarted", reset, seconds=40)
    # The suspicion lasts some readings of the statistics, which come every 5 s.
    back = await site.fresh("restarted", seconds=40)
    unharmed(site, "restarted", before)
    assert back.ready >= before.ready, "the queue is durable, the tasks are persistent"


async def test_a_redis_that_is_killed_and_started_again_costs_no_pod(fragile: Any) -> None:
    """Its worker keeps its 4 tasks and takes 4 more, which wait: nothing has been done meanwhile."""
    site = fragile.redis
    before = await site.busy("restarted")
    await restart(site)

    def taken_again(made: Decision) -> bool:
        return made.quality == "fresh" and made.ready is not None and made.ready < before.ready

    await site.until("restarted", taken_again, "its worker listens again", seconds=40)
    last = await site.until(
        "restarted",
        lambda made: made.quality == "fresh" and site.seen("restarted").workers,
        "heard again",
        seconds=40,
    )
    unharmed(site, "restarted", before)
    assert last.backlog[0] <= before.ready <= last.backlog[1]
