"""What every source of queue readings keeps, and the errors it may raise."""

from collections.abc import Sequence
from typing import Protocol

from scaler.core.observation import BrokerSample


class SourceError(Exception):
    """A broker could not be read. The text is safe to show: no credentials, at most 200 characters."""


class SourceUnavailableError(SourceError):
    """The broker can't be reached or didn't answer in time; trying again is right."""


class SourceDeniedError(SourceError):
    """The broker refused the credentials or the permission; a person has to act."""


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
