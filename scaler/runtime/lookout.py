"""What is known of each class at one moment: the broker's reading joined with the cluster's objects."""

from collections.abc import Mapping

import structlog

from scaler.cluster.base import ClusterReader
from scaler.core.decide import WorkerClass
from scaler.core.observation import Observation
from scaler.core.workload import Workload, with_workload
from scaler.runtime.board import Key, Sight
from scaler.runtime.brokers import Brokers
from scaler.runtime.clock import Clock
from scaler.runtime.recording import Recorder
from scaler.runtime.sampling import observe
from scaler.runtime.turns import Turns

log = structlog.get_logger(__name__)

#: How long a class without history waits for the cluster to state its replicas before it does without.
FIRST_SIGHT_SECONDS = 5.0


class Lookout:
    """Cuts one observation per class out of what was read last; it waits for nobody."""

    def __init__(self, brokers: Brokers, cluster: ClusterReader, recorder: Recorder, clock: Clock) -> None:
        """Sees nothing before `follow`."""
        self._brokers = brokers
        self._cluster = cluster
        self._recorder = recorder
        self._clock = clock
        self._subjects: Mapping[Key, WorkerClass] = {}
        #: Classes that were never decided, and until when the cluster's first word on them is waited for.
        self._new: dict[Key, float] = {}

    def follow(self, subjects: Mapping[Key, WorkerClass], decided: Mapping[Key, object]) -> None:
        """Look at these classes from now on, of which some are `decided` already."""
        self._subjects = subjects
        workers = [subject.worker for subject in subjects.values()]
        self._cluster.follow(
            [worker.scale_target for worker in workers if worker.scale_target],
            [
                worker.scale_target
                for worker in workers
                if worker.scale_target and (worker.resources.cpu or worker.resources.memory)
            ],
        )
        until = self._clock() + FIRST_SIGHT_SECONDS
        self._new = {key: self._new.get(key, until) for key in subjects if key not in decided}

    async def look(self, turns: Turns) -> Sight:
        """What is known of each class."""
        samplers = self._brokers.samplers()
        readings = {sampler: await sampler.reading(turns) for sampler in samplers}
        now = self._clock()
        workloads: dict[Key, Workload] = {}
        observations: dict[Key, Observation] = {}
        for key, subject in self._subjects.items():
            await turns.give()
            workloads[key] = self._workload(key, now)
            observation = observe(subject.name, subject.worker, readings[self._brokers.sampler_of(key)])
            observations[key] = with_workload(observation, subject.worker, workloads[key])
            self._recorder.record_reading(key, subject.worker, observations[key])
        brokers = []
        for sampler, keys in samplers.items():
            await turns.give()
            classes = ((self._subjects[key].name, self._subjects[key].worker) for key in keys)
            brokers.append(sampler.status(classes, readings[sampler]))
        return Sight(now, observations, workloads, tuple(brokers))

    def awaits_first_sight(self, key: Key, sight: Sight) -> bool:
        """Whether a class's replicas are about to be known: they are what it has to start from."""
        return sight.workloads[key].expected and sight.now < self._new.get(key, sight.now)

    def _workload(self, key: Key, now: float) -> Workload:
        target = self._subjects[key].worker.scale_target
        try:
            return self._cluster.workload(target, now)
        except Exception:  # what one odd object breaks must not stop the decisions of all classes
            log.exception("reading the cluster failed", policy=key[0], worker_class=key[1])
            return Workload(
                gaps=("the cluster's objects can't be read: an error of this service, see its log",)
            )
