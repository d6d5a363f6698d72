"""What became of every task, as the workers recorded it in the broker."""

from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scaler.demo import names
from scaler.demo.processes import DemoError


@dataclass(frozen=True, slots=True)
class Run:
    """One completed run of a task; times in seconds since the epoch."""

    number: int
    published_at: float
    started_at: float
    ended_at: float

    @property
    def wait(self) -> float:
        """Seconds from publish to start."""
        return self.started_at - self.published_at


class Ledger:
    """Reads the records as they are added, and the depth of the queue with the same round trip."""

    def __init__(self, client: Redis, queue: str) -> None:
        self._client = client
        self._queue = queue
        self._read = 0
        self._ran_again = 0
        #: The first completed run of each task, by its number.
        self.runs: dict[int, Run] = {}
        #: Messages in the queue, and messages delivered and not acknowledged.
        self.waiting = 0
        self.running = 0
        #: Pods whose worker takes tasks, or did before it was stopped.
        self.ready_pods: frozenset[str] = frozenset()

    @property
    def done(self) -> int:
        """Tasks that were completed, each counted once."""
        return len(self.runs)

    @property
    def done_twice(self) -> int:
        """Runs beyond the first, of all tasks."""
        return self._ran_again

    async def read(self) -> None:
        """Bring everything up to date.

        Raises:
            DemoError: the broker doesn't answer.
        """
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.llen(self._queue)
                pipe.hlen("unacked")
                pipe.smembers(names.READY_KEY)
                pipe.lrange(names.DONE_KEY, self._read, -1)
                self.waiting, self.running, ready, lines = await pipe.execute()
        except RedisError as error:
            raise DemoError(f"the broker doesn't answer: {type(error).__name__}: {error}") from error
        self.ready_pods = frozenset(ready)
        self._read += len(lines)
        for line in lines:
            self._enter(line)

    def _enter(self, line: str) -> None:
        number, published_at, started_at, ended_at, _pod = line.split()
        run = Run(int(number), float(published_at), float(started_at), float(ended_at))
        if run.number in self.runs:
            self._ran_again += 1
        else:
            self.runs[run.number] = run
