"""Puts the parts together, plays the story, reports, and leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from rich.console import Console

from scaler.core.policy import WorkerPolicy
from scaler.demo import names
from scaler.demo.broker import Broker, UnusableError, own_broker, users_broker
from scaler.demo.cluster import REAL_SYNC_SECONDS, SYNC_SECONDS, Autoscaler
from scaler.demo.keda_client import KedaTrigger
from scaler.demo.ledger import Ledger
from scaler.demo.names import BrokerKind
from scaler.demo.pods import Deployment
from scaler.demo.processes import Child, Children, DemoError, clean_environment, python
from scaler.demo.report import Outcome, summary
from scaler.demo.scene import Scene
from scaler.demo.service import running_service
from scaler.demo.story import Story
from scaler.demo.traffic import Sender
from scaler.demo.view import view_for

WORKER_CLASS = "io"

_NEXT = """
Where to go next
  celery-scaler check policies/examx.yaml    what is wrong with a policy, line by line
  celery-scaler serve --policies DIR         the service that KEDA asks
  celery-scaler explain io                   why a class has its number, at any moment
  docs/                                      how to point KEDA at the service"""


async def run_demo(console: Console, *, kind: BrokerKind, broker_url: str | None, tasks: int) -> int:
    """The whole demo. SIGTERM and SIGHUP cancel it, so that they clean up as Ctrl-C does.

    Returns:
        The exit status: 0 fine, 1 something went wrong, 2 the broker that was asked for can't be had.
    """
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    # The sender's Celery runs in this process and would follow the user's CELERY_BROKER_URL.
    for name in os.environ.keys() - clean_environment().keys():
        del os.environ[name]
    directory = Path(tempfile.mkdtemp(prefix="celery-scaler-demo-"))
    problems: list[str] = []
    try:
        with Children(directory) as children:
            source = users_broker(broker_url) if broker_url else own_broker(kind, children, directory)
            async with source as broker:
                outcome = await _play(console, children, broker, tasks)
        problems = outcome.problems()
        console.print(summary(outcome))
    except UnusableError as error:
        console.print(str(error), style="bold red", markup=False, highlight=False)
        return 2
    except DemoError as error:
        problems = [str(error)]
    except Exception:
        problems = ["an error in the demo itself"]
        raise
    finally:
        if problems:
            reasons = "; ".join(problems)
            console.print(f"\nThe demo failed: {reasons}", style="bold red", markup=False, highlight=False)
            console.print(f"All logs are kept in {directory}", markup=False, highlight=False, soft_wrap=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if problems:
        return 1
    console.print(_NEXT, markup=False, highlight=False, soft_wrap=True)
    return 0


async def _play(console: Console, children: Children, broker: Broker, tasks: int) -> Outcome:
    """Start the service and the first pod, and play."""
    worker = _worker_policy()
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    def start_pod(name: str) -> Child:
        environment = {names.BROKER_VARIABLE: broker.url, names.POD_VARIABLE: name}
        return children.start(name, worker_command(worker, name), environment)

    scene = Scene(f"celery-scaler demo on {broker.label}", worker.replicas.min, worker.replicas.max)
    scene.say(f"HPA stand-in syncs every {SYNC_SECONDS:g} s (a real one: {REAL_SYNC_SECONDS:g} s)")
    async with running_service(children, broker.url) as service:
        deployment = Deployment(start_pod, clock)
        deployment.scale(worker.replicas.min)
        with view_for(console) as view:
            view.show(scene)
            await service.ready()
            trigger = KedaTrigger(
                service.grpc_address,
                "demo-io",
                "default",
                {"scalerAddress": service.grpc_address, "policy": "demo", "workerClass": WORKER_CLASS},
            )
            story = Story(
                worker_class=WORKER_CLASS,
                worker=worker,
                service=service,
                autoscaler=Autoscaler(trigger, worker.replicas.min, worker.replicas.max),
                deployment=deployment,
                ledger=Ledger(broker.client, worker.queues[0]),
                sender=lambda plan: Sender(broker.url, worker.queues[0], plan, worker.service_time),
                tasks=tasks,
                scene=scene,
                view=view,
                clock=clock,
            )
            outcome = await story.play()
        for pod in deployment.serving:
            await asyncio.to_thread(pod.child.end, 5.0)
        return outcome


def worker_command(worker: WorkerPolicy, pod: str) -> list[str]:
    """The command line of a Celery worker that is what the policy says."""
    return python(
        "celery",
        "--app=scaler.demo.app",
        "worker",
        f"--pool={worker.pool}",
        f"--concurrency={worker.concurrency}",
        f"--prefetch-multiplier={worker.prefetch_multiplier}",
        f"--queues={','.join(worker.queues)}",
        f"--hostname={pod}@demo",
        "--loglevel=INFO",
        # Talk between workers, of no use here, that makes each start 1 s slower.
        "--without-mingle",
        "--without-gossip",
        "--without-heartbeat",
    )


def _worker_policy() -> WorkerPolicy:
    raise NotImplementedError
