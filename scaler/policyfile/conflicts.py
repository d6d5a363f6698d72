"""What policies that are served together must not do: bear one name, or claim one queue twice.

Two policies that both scale for the same queue would each count all of its load.
"""

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from scaler.core.policy import Broker
from scaler.policyfile.diagnostics import Finding
from scaler.policyfile.documents import View
from scaler.policyfile.nodes import place_of

#: Ports that a URL needn't name.
_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379, "sentinel": 26379}


def conflicts(views: Iterable[View]) -> list[tuple[View, Finding]]:
    """Each conflict, with the later of the two views that it is between."""
    names: dict[str, View] = {}
    owners: dict[tuple[str, str], tuple[View, str]] = {}
    found = []
    for view in views:
        if view.policy is None:
            continue
        name = view.policy.metadata.name
        first = names.setdefault(name, view)
        if first is not view:
            place = place_of(view.root, ("metadata", "name"))
            message = (
                f"the name {name!r} is taken by {first.file}; write another name, or remove one of the files"
            )
            found.append((view, Finding(place, message)))
        for worker_class, worker in view.policy.spec.workers.items():
            broker = _identity(view.policy.spec.brokers[view.policy.spec.broker_of(worker_class)])
            for index, queue in enumerate(worker.queues):
                owner, owner_class = owners.setdefault((broker, queue), (view, worker_class))
                if owner is not view or owner_class != worker_class:  # also over two names of one broker
                    place = place_of(view.root, ("spec", "workers", worker_class, "queues", index))
                    message = (
                        f"workers.{worker_class} claims the queue {queue!r}, and so does {owner_class} of"
                        f" {owner.file}; its load can't be split: remove it from one of them"
                    )
                    found.append((view, Finding(place, message)))
    return found


def _identity(broker: Broker) -> str:
    """The same text for the same queues, whoever logs in; never shown."""
    if broker.url is None:
        return f"file {broker.url_file} {broker.global_keyprefix}"
    servers = sorted(_server(part.strip()) for part in broker.url.get_secret_value().split(";"))
    return f"{' '.join(servers)} {broker.global_keyprefix} {broker.master_name}"


def _server(url: str) -> str:
    scheme, _, rest = url.partition("://")
    parts = urlsplit(f"http://{rest}")  # readable, or the model would have refused it
    host = parts.hostname or "localhost"
    path = unquote(parts.path.removeprefix("/")) or ("/" if scheme.startswith("amqp") else "0")
    return f"{scheme} {'localhost' if host == '127.0.0.1' else host}:{parts.port or _PORTS[scheme]}/{path}"
