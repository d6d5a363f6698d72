"""The spike from start to end: who does what when, and when it is over."""

import asyncio
from collections.abc import Callable

from scaler.core.policy import WorkerPolicy
from scaler.demo.cluster import SYNC_SECONDS, Autoscaler
from scaler.demo.ledger import Ledger
from scaler.demo.names import DEFAULT_TASKS
from scaler.demo.pods import Deployment
from scaler.demo.processes import DemoError
from scaler.demo.report import Outcome
from scaler.demo.scene import Scene
from scaler.demo.service import Explained, Service
from scaler.demo.traffic import Plan, Sender
from scaler.demo.view import View

#: Seconds between two looks at everything.
TICK = 0.25
TRICKLE_RATE = 3.0
WARM_UP_SECONDS = 6.0
BURST_SECONDS = 2.0
#: From the demo's start; with the default number of tasks it takes about a minute.
TIME_LIMIT = 110.0
#: Tasks per second of the largest fleet, by which a larger burst is given more time.
FLEET_RATE = 40.0
#: Nothing waits or runs for so long and tasks are missing: they are lost.
LOST_AFTER = 3.0


class Story:
    """Plays the demo on parts that are already running."""

    def __init__(
        self,
        *,
        worker_class: str,
        worker: WorkerPolicy,
        service: Service,
        autoscaler: Autoscaler,
        deployment: Deployment,
        ledger: Ledger,
        sender: Callable[[Plan], Sender],
        tasks: int,
        scene: Scene,
        view: View,
        clock: Callable[[], float],
    ) -> None:
        self._worker_class = worker_class
        self._worker = worker
        self._service = service
        self._autoscaler = autoscaler
        self._deployment = deployment
        self._ledger = ledger
        self._scene = scene
        self._view = view
        self._clock = clock
        self._plan = Plan(TRICKLE_RATE, WARM_UP_SECONDS, tasks, BURST_SECONDS)
        self._sender = sender(self._plan)
        self._limit = TIME_LIMIT + max(0, tasks - DEFAULT_TASKS) / FLEET_RATE
        self._next_sync = float("inf")
        self._burst_at: float | None = None
        self._first_decision: float | None = None
        self._first_pod: float | None = None
        #: Whether the service has read the broker.
        self._seeing = False
        self._peak = 0
        self._peak_why: tuple[str, ...] = ()
        self._peak_at = 0.0
        self._frozen = False
        self._idle_since = 0.0

    async def play(self) -> Outcome:
        """Play everything; the outcome may be a failure.

        Raises:
            DemoError: a process ended, or nothing can be sent.
        """
        began = self._clock()
        await self._until("starting", lambda: bool(self._ledger.ready_pods) and self._seeing)
        self._next_sync = self._clock()
        sending_since = self._clock()
        self._sender.start()
        self._scene.say(f"the first pod is ready; {TRICKLE_RATE:g} e-mails/s arrive from now on")
        try:
            await self._until("trickle", lambda: self._clock() - sending_since >= WARM_UP_SECONDS)
            self._burst_at = sending_since + WARM_UP_SECONDS
            self._scene.say(f"BURST: {self._plan.burst_tasks} e-mails in {BURST_SECONDS:g} s")
            burst_over = self._burst_at + BURST_SECONDS
            sent_by_then = self._plan.due(WARM_UP_SECONDS + BURST_SECONDS)
            await self._until(
                "burst", lambda: self._clock() >= burst_over and self._sender.sent >= sent_by_then
            )
            await self._until("drain", lambda: self._ledger.waiting == 0)
            self._scene.say("the backlog is gone; the trickle goes on")
            await self._until("scale-down", self._is_small_again)
        finally:
            await asyncio.to_thread(self._sender.stop)
        duration = self._clock() - began
        pod_seconds = self._deployment.pod_seconds()
        self._scene.say("nothing more is sent; the last tasks end")
        self._idle_since = self._clock()
        await self._until("finish", self._is_accounted)
        return Outcome(
            worker=self._worker,
            sent=self._sender.sent,
            done=self._ledger.done,
            done_twice=self._ledger.done_twice,
            killed=sum(pod.killed for pod in self._deployment.pods),
            waits=tuple(run.wait for run in self._ledger.runs.values()),
            first_decision=self._since_burst(self._first_decision),
            first_pod=self._since_burst(self._first_pod),
            peak=self._deployment.peak,
            final=len(self._deployment.serving),
            time_limit=self._limit if self._clock() > self._limit else None,
            duration=duration,
            pod_seconds=pod_seconds,
            peak_why=self._peak_why,
            peak_at=self._peak_at,
        )

    async def _until(self, phase: str, condition: Callable[[], bool]) -> None:
        """Let everything go on until the condition holds or the time is over."""
        self._scene.phase = phase
        while True:
            await self._tick()
            if condition() or self._clock() > self._limit:
                return
            await asyncio.sleep(TICK)

    async def _tick(self) -> None:
        self._deployment.reap()
        if self._sender.failure is not None:
            raise DemoError(f"the tasks can't be sent: {self._sender.failure!r}")
        await self._ledger.read()
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Ctrl-C. redis-py awaits its sends with asyncio.wait_for, which on Python 3.11 swallows a
            # cancellation that comes just then (1 to 3 turns of the event loop for each command).
            raise asyncio.CancelledError
        self._note(await self._service.explain(self._worker_class))
        if self._clock() >= self._next_sync:
            self._next_sync += SYNC_SECONDS
            await self._sync()
        self._draw()

    async def _sync(self) -> None:
        """One sync of the HPA, carried out."""
        before = len(self._deployment.serving)
        sync = await self._autoscaler.sync(before)
        if bool(sync.error) != self._frozen:
            self._frozen = bool(sync.error)
            self._scene.say(f"no answer ({sync.error}): replicas stay" if sync.error else "answers again")
        if sync.replicas == before:
            return
        self._deployment.scale(sync.replicas)
        change = "starts" if sync.replicas > before else "stops"
        self._scene.say(
            f"HPA: {before} -> {sync.replicas} pods; the cluster {change} {abs(sync.replicas - before)}"
        )
        if sync.replicas > before and self._first_pod is None:
            self._first_pod = self._clock()

    def _note(self, explained: Explained | None) -> None:
        """Take in what the service decides and says."""
        scene, smallest = self._scene, self._worker.replicas.min
        if explained is None:
            scene.why, scene.sum, scene.held = "the service doesn't answer", "", ""
            return
        decision = explained.decision
        self._seeing = decision.quality != "blind"
        scene.why = explained.why[0]
        scene.sum = next((term.formula for term in decision.terms if term.name == decision.winner), "")
        scene.held = "" if decision.limit == "none" else f"{decision.limit}: {decision.limit_detail}"
        if decision.desired != scene.desired and scene.desired:
            held = f", held by {decision.limit}" if scene.held else ""
            asks = f"{decision.winner} asks for {decision.recommendation}"
            scene.say(f"service: {scene.desired} -> {decision.desired} ({asks}{held})")
        scene.desired = decision.desired
        if decision.desired > max(self._peak, smallest):
            self._peak, self._peak_why, self._peak_at = decision.desired, explained.why, self._clock()
        if self._burst_at and self._first_decision is None and decision.desired > smallest:
            self._first_decision = self._clock()

    def _draw(self) -> None:
        scene, ledger = self._scene, self._ledger
        serving = self._deployment.serving
        scene.clock = self._clock()
        scene.waiting, scene.running = ledger.waiting, ledger.running
        scene.sent, scene.done = self._sender.sent, ledger.done
        scene.ready = sum(pod.name in ledger.ready_pods for pod in serving)
        scene.starting = len(serving) - scene.ready
        scene.stopping = len(self._deployment.stopping)
        if scene.clock >= len(scene.depths):
            scene.depths.append(ledger.waiting)
        self._view.show(scene)

    def _is_small_again(self) -> bool:
        smallest = self._worker.replicas.min
        return len(self._deployment.serving) == smallest and not self._deployment.stopping

    def _is_accounted(self) -> bool:
        """Every task is done, or what is missing can't come any more."""
        if self._ledger.done >= self._sender.sent:
            return True
        if self._ledger.waiting or self._ledger.running:
            self._idle_since = self._clock()
        return self._clock() - self._idle_since > LOST_AFTER

    def _since_burst(self, at: float | None) -> float | None:
        return None if at is None or self._burst_at is None else at - self._burst_at
