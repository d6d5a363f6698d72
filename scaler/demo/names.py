"""Names that the demo, its command line and its worker processes must agree on."""

from typing import Literal

#: E-mails in the burst: 3.3 pods' worth, so that four of the five start.
DEFAULT_TASKS = 1000

BrokerKind = Literal["auto", "redis-server", "embedded"]

#: Environment of a worker: broker and name of the pod it stands for. The policy uses the first, too.
BROKER_VARIABLE = "CELERY_SCALER_DEMO_BROKER"
POD_VARIABLE = "CELERY_SCALER_DEMO_POD"

TASK = "celery_scaler_demo.send_email"

_PREFIX = "celery-scaler-demo:"
#: A list with one line per completed run: number, published, started, ended (seconds since the epoch), pod.
DONE_KEY = f"{_PREFIX}done"
#: The set of pods whose worker has told that it takes tasks.
READY_KEY = f"{_PREFIX}ready"

#: All that the demo, Celery and kombu write; removed from a Redis that isn't the demo's own.
ALL_KEYS = (f"{_PREFIX}*", "email*", "unacked*", "_kombu.*")
