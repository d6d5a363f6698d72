"""Puts the parts together, plays the story, reports, and leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from scaler.demo.processes import Child, Children, DemoError, clean_environment, python, tail
from scaler.demo.report import Outcome, summary
from scaler.demo.scene import Scene
from scaler.demo.service import POLICY_FILE, running_service
from scaler.demo.story import Story
from scaler.demo.traffic import Sender
from scaler.demo.view import view_for
from scaler.policyfile import load_directory_or_file

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
    # gRPC would send even calls to loopback through a proxy.
    os.environ["no_grpc_proxy"] = "127.0.0.1"  # noqa: SIM112 - gRPC reads small letters
    # The sender's Celery runs in this process and would follow the user's CELERY_BROKER_URL.
    for name in os.environ.keys() - clean_environment().keys():
        del os.environ[name]
    try:
        with _log_directory(console) as directory:
            source = users_broker(broker_url) if broker_url else own_broker(kind, directory)
            # The workers end before the broker: a Redis of the user's is cleaned up after them.
            async with source as broker:
                with Children(directory) as children:
                    outcome = await _play(console, children, broker, tasks)
            console.print()
            console.print(summary(outcome))
            _judge(outcome, directory / "service.log")
    except UnusableError as error:
        console.print(str(error), style="bold red", markup=False, highlight=False)
        return 2
    except DemoError:
        return 1
    console.print(_NEXT, markup=False, highlight=False, soft_wrap=True)
    return 0


def _judge(outcome: Outcome, log: Path) -> None:
    """Raise a `DemoError` if anything went wrong."""
    problems = outcome.problems()
    if problems:
        raise DemoError("\n".join([*problems, f"the end of {log}:", tail(log)]))


@contextmanager
def _log_directory(console: Console) -> Iterator[Path]:
    """A temporary directory that stays, and is named, if the demo fails; failures are shown here."""
    directory = Path(tempfile.mkdtemp(prefix="celery-scaler-demo-"))
    keep = False
    try:
        yield directory
    except (UnusableError, asyncio.CancelledError):
        raise
    except BaseException as error:
        keep = True
        what = str(error) if isinstance(error, DemoError) else f"{type(error).__name__}: {error}"
        console.print(
            f"\nThe demo failed: {what}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        console.print(f"All logs are kept in {directory}", markup=False, highlight=False, soft_wrap=True)
        raise
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


async def _play(console: Console, children: Children, broker: Broker, tasks: int) -> Outcome:
    """Start the service and the first pod, and play."""
    policies = load_directory_or_file(POLICY_FILE, None, {names.BROKER_VARIABLE: broker.url})
    worker = policies["demo"].spec.workers[WORKER_CLASS]
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
            metadata = {"scalerAddress": service.grpc_address, "policy": "demo", "workerClass": WORKER_CLASS}
            async with KedaTrigger(service.grpc_address, "demo-io", "default", metadata) as trigger:
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
