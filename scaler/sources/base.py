"""What every source of queue readings keeps, and the errors it may raise."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from scaler.core.observation import BrokerSample, WorkerReport


class SourceError(Exception):
    """A broker could not be read. The text is safe to show: no credentials, at most 200 characters."""


class SourceUnavailableError(SourceError):
    """The broker can't be reached or didn't answer in time; trying again is right."""


class SourceDeniedError(SourceError):
    """The broker refused the credentials or the permission; a person has to act."""


class EventReceiver(Protocol):
    """Listens to what Celery's workers say of themselves over one broker."""

    @property
    def problem(self) -> str:
        """Why nothing is received at the moment, with the remedy; empty while listening."""
        ...

    async def run(self) -> None:
        """Listen until cancelled; connects again by itself, and raises nothing else."""
        ...

    def reports(self, now: float) -> Iterable[WorkerReport]:
        """The workers heard of in the last minutes, by hostname; `now` in seconds since the epoch.

        To be gone through at once, with turns for the event loop in between where there are thousands.
        """
        ...


class QueueSource(Protocol):
    """Reads many queues of one broker in one sweep.

    A source connects at its first sample and again after every error; it holds no retry loop
    of its own (the runtime paces the attempts) and no handler of KEDA ever awaits it.
    """

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """Read all `queues` once, stamped with `now` (seconds since the epoch).

        Every asked queue is in the answer, in the order asked. A queue that the broker
        doesn't know is an answer (`exists=False`), not an error.

        Raises:
            SourceError: nothing was read; no partial samples.
        """
        ...

    async def close(self) -> None:
        """Give the connections back; a later `sample` connects anew."""
        ...
