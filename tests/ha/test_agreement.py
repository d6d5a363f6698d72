"""Replicas with different policies, as while a changed ConfigMap is on its way to their pods."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from scaler.api.workers import worker_document
from scaler.core.policy import ScalingPolicy
from scaler.runtime.agreement import Agreement
from scaler.runtime.metrics import Metrics

KEY = ("examx", "io")


class Watched:
    """A replica, and what it says of its policies."""

    def __init__(self, replica: Any) -> None:
        self.replica, self.metrics = replica, Metrics()
        self.agreement = Agreement(replica.board, replica.engine.leadership, self.metrics)
        self.said: list[Any] = []

    def look(self) -> None:
        with capture_logs() as logs:
            self.agreement.look(self.replica.board.snapshot)
        self.said += logs

    @property
    def metric(self) -> float | None:
        return self.metrics.registry.get_sample_value("celery_scaler_policies_differ")

    @property
    def desired(self) -> int:
        found: int = self.replica.board.snapshot.decisions[KEY].desired
        return found


def changed(policy: ScalingPolicy, most: int, **more: Any) -> dict[str, ScalingPolicy]:
    worker = policy.spec.workers["io"]
    bounds = worker.replicas.model_copy(update={"max": most})
    workers = {"io": worker.model_copy(update={"replicas": bounds}), **more}
    spec = policy.spec.model_copy(update={"workers": workers})
    return {"examx": policy.model_copy(update={"spec": spec})}


@pytest.fixture
async def world(make_world: Any) -> AsyncIterator[Any]:
    made = make_world(1)
    yield made
    await made.close()


@pytest.fixture
async def pair(world: Any) -> tuple[Watched, Watched]:
    """The leader and a follower, with a load that fills 5 pods."""
    await world.add(2)
    await world.run(5)
    world.waiting = 2000
    await world.run(3)
    leader = world.leader
    (follower,) = [one for one in world.replicas if one is not leader]
    return Watched(leader), Watched(follower)


async def test_while_policies_differ_both_answer_by_the_leaders_and_it_is_said_once(
    world: Any, policy: ScalingPolicy, pair: Any
) -> None:
    leader, follower = pair
    for one in pair:
        one.look()
    assert [one.metric for one in pair] == [0, 0]
    assert [one.said for one in pair] == [[], []]

    await follower.replica.engine.apply(changed(policy, 3))
    for _ in range(3):
        await world.run(1)
        for one in pair:
            one.look()

    assert follower.desired == leader.desired == 5, "not cut to the follower's max of 3"
    assert leader.replica.answer() == follower.replica.answer()
    assert [one.metric for one in pair] == [0, 1]
    (said,) = follower.said
    assert (said["log_level"], said["leader"]) == ("warning", leader.replica.identity)
    assert leader.said == []
    document = worker_document(
        follower.replica.board.snapshot, KEY, world.now, foreign=follower.agreement.differs
    )
    assert document["why"][-1].startswith("  differs: the leader's policies count")
    assert json.dumps(follower.replica.engine.standing()["record"]).count('"policiesAgree": false') == 1


async def test_the_policy_reaches_the_leader_and_all_is_well(
    world: Any, policy: ScalingPolicy, pair: Any
) -> None:
    leader, follower = pair
    await follower.replica.engine.apply(changed(policy, 3))
    await world.run(1)
    follower.look()
    await leader.replica.engine.apply(changed(policy, 3))
    await world.run(3)
    for one in pair:
        one.look()

    assert follower.desired == leader.desired == 3
    assert [one.metric for one in pair] == [0, 0]
    assert [entry["log_level"] for entry in follower.said] == ["warning", "info"]
    assert leader.said == []


async def test_who_takes_over_decides_by_its_own(world: Any, policy: ScalingPolicy, pair: Any) -> None:
    leader, follower = pair
    await follower.replica.engine.apply(changed(policy, 3))
    await world.run(1)
    follower.look()
    await leader.replica.stop(orderly=True)
    await world.run(5)
    follower.look()

    assert world.leader is follower.replica
    assert follower.desired == 3
    assert follower.metric == 0


async def test_a_class_that_one_of_them_has_alone_is_named(
    world: Any, policy: ScalingPolicy, pair: Any
) -> None:
    _, follower = pair
    new = policy.spec.workers["io"].model_copy(update={"queues": ("sms",)})
    await follower.replica.engine.apply(changed(policy, 40, sms=new))
    await world.run(1)
    follower.look()

    (said,) = follower.said
    assert (said["only_here"], said["only_there"]) == (["examx/sms"], [])
