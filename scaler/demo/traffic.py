"""The load: a steady trickle of e-mails, and a campaign that arrives all at once.

The sender is what a web application is: a Celery client that publishes by task name and doesn't
import the task. It runs in a thread, because kombu's publishing blocks.
"""

import random
import threading
import time
from dataclasses import dataclass

from celery import Celery

from scaler.demo import names

#: Durations are drawn evenly from this share of the mean to that.
SPREAD = (0.5, 1.5)
#: Fixed, so that every run plays the same durations.
SEED = 7
#: Seconds between two looks at what is due.
STEP = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent when; times in seconds after the sender's start."""

    #: Tasks per second, until the sender is stopped.
    trickle: float
    burst_at: float
    burst_tasks: int
    burst_seconds: float

    def due(self, elapsed: float) -> int:
        """How many tasks must have been sent by then."""
        share = min(max((elapsed - self.burst_at) / self.burst_seconds, 0.0), 1.0)
        return int(self.trickle * elapsed) + int(self.burst_tasks * share)


class Sender(threading.Thread):
    """Publishes by the plan until it is stopped or fails."""

    def __init__(self, broker_url: str, queue: str, plan: Plan, mean_seconds: float) -> None:
        super().__init__(name="sender", daemon=True)
        self._app = Celery("sender", broker=broker_url, set_as_current=False)
        self._queue = queue
        self._plan = plan
        self._mean = mean_seconds
        self._stop_asked = threading.Event()
        #: Tasks that the broker has taken.
        self.sent = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        """Publish what is due."""
        durations = random.Random(SEED)  # noqa: S311 - a load, not a secret
        started = time.monotonic()
        try:
            with (
                self._app.connection_for_write() as connection,
                self._app.amqp.Producer(connection) as producer,
            ):
                while not self._stop_asked.wait(STEP):
                    due = self._plan.due(time.monotonic() - started)
                    while self.sent < due:
                        seconds = self._mean * durations.uniform(*SPREAD)
                        self._app.send_task(
                            names.TASK,
                            args=(self.sent, time.time(), seconds),
                            queue=self._queue,
                            producer=producer,
                        )
                        self.sent += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the story reports it and ends
            self.failure = error

    def stop(self) -> None:
        """Send nothing more; returns when the last task is out."""
        self._stop_asked.set()
        self.join()
