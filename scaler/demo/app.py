"""The application that the demo's workers run: one task, and a record of every time it is done.

The record is kept in the broker and written before the message is acknowledged, so that a task
which is run again shows up twice and one that never ended not at all.
"""

import os
import time

from celery import Celery
from celery.signals import worker_ready
from redis import Redis

from scaler.demo import names

_broker_url = os.environ[names.BROKER_VARIABLE]
_pod = os.environ[names.POD_VARIABLE]
_records = Redis.from_url(_broker_url)

app = Celery("demo", broker=_broker_url)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name=names.TASK)  # type: ignore[untyped-decorator]  # Celery has no types
def send_email(number: int, published_at: float, seconds: float) -> None:
    """Wait as long as a mail relay would. Times are seconds since the epoch."""
    started_at = time.time()
    time.sleep(seconds)
    _records.rpush(names.DONE_KEY, f"{number} {published_at} {started_at} {time.time()} {_pod}")


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _tell_ready(**_: object) -> None:
    _records.sadd(names.READY_KEY, _pod)
