"""The demo knows when it is over, and doesn't call a failure a success."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from scaler.core.decision import Decision, Term
from scaler.core.policy import WorkerPolicy
from scaler.demo import story as story_module
from scaler.demo.cluster import Sync
from scaler.demo.ledger import Run
from scaler.demo.pods import Deployment
from scaler.demo.processes import DemoError
from scaler.demo.report import Outcome
from scaler.demo.scene import Scene
from scaler.demo.service import Explained
from scaler.demo.story import TIME_LIMIT, Story
from scaler.demo.traffic import Plan

WORKER = WorkerPolicy.model_validate(
    {"queues": ("email",), "concurrency": 20, "serviceTime": "2s", "replicas": {"min": 1, "max": 5}}
)


class World:
    """Everything that the story moves, played at a quarter of a second per look.

    Tasks are done at ten per second and pod; the service asks for `wanted(waiting)` pods.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.wanted: Callable[[int], int] = lambda waiting: 4 if waiting > 200 else 1
        self.lost = 0
        self.swallows_cancellation = False
        self.error = ""
        self.child_exit: int | None = 0
        # The sender
        self.sent = 0
        self.failure: Exception | None = None
        self._plan: Plan | None = None
        self._sending_since: float | None = None
        # The ledger
        self.waiting = self.running = self.done_twice = 0
        self.runs: dict[int, Run] = {}
        self.scene = Scene("demo", 1, 5)
        self.deployment = Deployment(lambda _name: self, self.clock)  # type: ignore[arg-type, return-value]  # also the child
        self.deployment.scale(1)

    def clock(self) -> float:
        return self.now

    @property
    def done(self) -> int:
        return len(self.runs)

    @property
    def ready_pods(self) -> set[str]:
        return {pod.name for pod in self.deployment.pods}

    # the sender
    def plan(self, plan: Plan) -> Any:
        self._plan = plan
        return self

    def start(self) -> None:
        self._sending_since = self.now

    def stop(self) -> None:
        self._sending_since = None

    # the child of every pod
    @property
    def exit_code(self) -> int | None:
        return self.child_exit

    def terminate(self) -> None:
        pass

    def kill(self) -> None:
        self.child_exit = -9

    def require_running(self) -> None:
        pass

    # the ledger: time passes here
    async def read(self) -> None:
        self.now += 0.25
        if self.swallows_cancellation and self.now == 10.0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if self._sending_since is not None and self._plan is not None:
            self.sent = self._plan.due(self.now - self._sending_since)
        able = int(2.5 * len(self.deployment.serving))
        for number in range(self.done, min(self.done + able, self.sent - self.lost)):
            self.runs[number] = Run(number, self.now, self.now, self.now)
        self.waiting = self.sent - self.lost - self.done

    # the service
    async def explain(self, _worker_class: str) -> Explained:
        desired = self.wanted(self.waiting)
        decision = Decision(
            policy="demo",
            worker_class="io",
            decided_at=self.now,
            desired=desired,
            previous=desired,
            recommendation=desired,
            active=True,
            active_because="",
            quality="fresh",
            quality_reasons=(),
            terms=(Term("drain", float(desired), f"backlog {self.waiting}"),),
            winner="drain",
            limit="none",
            limit_detail="",
            next_step_at=None,
            sampled_at=self.now,
            ready=self.waiting,
            running=(0, 0),
            backlog=(0, 0),
        )
        return Explained(decision, (f"io: {desired} replicas", f"backlog {self.waiting}"))

    # the autoscaler
    async def sync(self, current: int) -> Sync:
        return Sync(current, None, self.error) if self.error else Sync(self.wanted(self.waiting), 1.0)

    # the view
    def show(self, scene: Scene) -> None:
        pass

    @property
    def said(self) -> list[str]:
        return [text for _, text in self.scene.events]

    async def play(self) -> Outcome:
        parts: Any = self
        return await Story(
            worker_class="io",
            worker=WORKER,
            service=parts,
            autoscaler=parts,
            deployment=self.deployment,
            ledger=parts,
            sender=self.plan,
            tasks=1000,
            scene=self.scene,
            view=parts,
            clock=self.clock,
        ).play()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(story_module, "TICK", 0.0)
    return World()


async def test_a_spike_goes_up_and_down_and_every_task_is_accounted_for(world: World) -> None:
    outcome = await world.play()
    assert outcome.problems() == []
    assert outcome.peak == 4
    assert outcome.sent == outcome.done > 1000
    assert outcome.first_decision is not None
    assert outcome.first_pod is not None
    assert 0 < outcome.first_decision <= outcome.first_pod < 5
    assert outcome.peak_why[0] == "io: 4 replicas"
    assert outcome.duration < TIME_LIMIT


async def test_a_service_that_never_scales_up_fails_the_demo(world: World) -> None:
    world.wanted = lambda _waiting: 1
    outcome = await world.play()
    assert "it never scaled up" in outcome.problems()
    assert outcome.first_decision is None
    assert outcome.peak_why == ()


async def test_tasks_that_never_come_back_are_lost_and_waited_for_only_briefly(world: World) -> None:
    world.lost = 2
    outcome = await world.play()
    assert outcome.problems() == [f"2 of {outcome.sent} tasks were not done"]
    assert outcome.time_limit is None


async def test_a_service_that_never_scales_down_is_ended_by_the_time_limit(world: World) -> None:
    world.wanted = lambda _waiting: 3 if world.now > 10 else 1
    outcome = await world.play()
    assert outcome.problems() == [
        "it ended with 3 pods instead of 1",
        f"the time limit of {TIME_LIMIT:.0f} s was reached",
    ]


async def test_workers_that_had_to_be_killed_fail_the_demo(world: World) -> None:
    world.child_exit = None
    outcome = await world.play()
    assert any("didn't stop within their grace" in problem for problem in outcome.problems())


async def test_an_outage_of_the_service_is_said_once_and_changes_nothing(world: World) -> None:
    world.error = "UNAVAILABLE: no reading"
    outcome = await world.play()
    assert outcome.peak == 1
    assert world.said.count("no answer (UNAVAILABLE: no reading): replicas stay") == 1


async def test_a_sender_that_fails_ends_the_demo(world: World) -> None:
    world.failure = ConnectionError("refused")
    with pytest.raises(DemoError, match=r"the tasks can't be sent: ConnectionError\('refused'\)"):
        await world.play()


async def test_ctrl_c_ends_the_demo_even_where_a_library_swallows_it(world: World) -> None:
    world.swallows_cancellation = True
    playing = asyncio.create_task(world.play())
    await asyncio.wait([playing])
    assert playing.cancelled()
    assert world.now == 10.0
