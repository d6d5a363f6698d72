"""The Celery application of the measured workers: each task writes down when it started and ended."""

import os
import time

from celery import Celery

app = Celery("accuracy", broker=os.environ.get("ACCURACY_BROKER", "memory://"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=os.environ.get("ACCURACY_ACKS_LATE") == "1",
    worker_prefetch_multiplier=int(os.environ.get("ACCURACY_PREFETCH", "1")),
    broker_connection_retry_on_startup=False,
)


def _write(letter: str, number: int) -> None:
    # One write per line and O_APPEND: the children of a prefork worker share the file.
    line = f"{letter} {number} {time.time():.6f}\n".encode()
    handle = os.open(os.environ["ACCURACY_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


@app.task(name="work")  # type: ignore[untyped-decorator]  # Celery has no annotations
def work(number: int, seconds: float) -> None:
    """Occupy a slot for so long."""
    _write("S", number)
    time.sleep(seconds)
    _write("F", number)
