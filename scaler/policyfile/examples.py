"""What to write: one example for every key, shown wherever a key is missing or has the wrong kind of value.

A test loads each of them against the field that it stands for.
"""

from ruamel.yaml import YAML

from scaler.core.policy.values import Path
from scaler.policyfile.diagnostics import word
from scaler.policyfile.shape import is_known, model_at, words_at

#: By `Model.key`, or by key alone where it means the same everywhere.
EXAMPLES = {
    "metadata": "{name: examx}",
    "Metadata.name": "examx",
    "spec": "{brokers: {…}, workers: {…}}",
    "brokers": '{main: {url: "${BROKER_URL}"}}',
    "workers": "{io: {queues: [email], concurrency: 4, serviceTime: 1.5s, replicas: {max: 5}}}",
    "namespaces": "[examx-production]",
    "priorities": "{critical: 9, bulk: 4}",
    "alerts": "{critical: {queueDepth: 0.8}}",
    "breakers": "{failureThreshold: 5}",
    "environments": "{production: {}, uat: {workers: {io: {replicas: {max: 3}}}}}",
    # Brokers.
    "url": '"${BROKER_URL}"',
    "urlFile": "/etc/celery/broker-url",
    "managementUrl": '"${RABBITMQ_MANAGEMENT_URL:-}"',
    "globalKeyprefix": '"celery:"',
    "prioritySteps": "[0, 3, 6, 9]",
    "sep": '":"',
    "masterName": "mymaster",
    "sentinelUsername": "scaler",
    "sentinelPassword": '"${SENTINEL_PASSWORD}"',
    "caFile": "/etc/tls/ca.pem",
    "certFile": "/etc/tls/tls.crt",
    "keyFile": "/etc/tls/tls.key",
    "events": "true",
    # Worker classes.
    "scaleTarget": "{kind: Deployment, name: celery-io-worker}",
    "ScaleTarget.name": "celery-io-worker",
    "namespace": "celery",
    "broker": "main",
    "queues": "[email]",
    "hostnames": '["celery@celery-io-worker-*"]',
    "nativeDelayedDelivery": "true",
    "concurrency": "4",
    "acksLate": "true",
    "prefetchMultiplier": "1",
    "serviceTime": "1.5s",
    "serviceTimeCv": "1.0",
    "startupTime": "45s",
    "objective": "{wait: 30s, serviceLevel: 0.99, utilization: 0.85}",
    "wait": "30s",
    "serviceLevel": "0.99",
    "utilization": "0.85",
    "patience": "0.6",
    "replicas": "{min: 1, max: 5}",
    "min": "1",
    "max": "5",
    "resources": "{cpu: 70}",
    "cpu": "70",
    "memory": "70",
    "behavior": "{scaleUp: {policies: [{type: Pods, value: 3, periodSeconds: 60}]}}",
    "scaleUp": "{policies: [{type: Pods, value: 3, periodSeconds: 60}]}",
    "scaleDown": "{policies: [{type: Pods, value: 1, periodSeconds: 600}]}",
    "stabilizationWindowSeconds": "900",
    "policies": "[{type: Pods, value: 3, periodSeconds: 60}]",
    "value": "3",
    "periodSeconds": "60",
    "tolerance": '"0.1"',
    "hpaTolerance": '"0.1"',
    "drain": "{enabled: true, maxWait: 2h}",
    "enabled": "true",
    "maxWait": "2h",
    "limits": "{maxLength: 5000, overflow: reject-publish, messageTtl: 30m}",
    "maxLength": "5000",
    "messageTtl": "30m",
    "schedule": '[{cron: "50 8 * * 1-5", duration: 2h, minReplicas: 3}]',
    "cron": '"50 8 * * 1-5"',
    "duration": "2h",
    "minReplicas": "3",
    "timezone": "Asia/Kolkata",
    "reason": "morning exams",
    "fastPath": "true",
    "mode": "shadow",
    # What watches the system.
    "critical": "{queueDepth: 0.8}",
    "warning": "{queueDepth: 0.5}",
    "queueDepth": "0.8",
    "workerCpu": "0.9",
    "workerMemory": "0.85",
    "sustained": "2m",
    "failureRate": "0.1",
    "scalingEventsPerHour": "5",
    "latencyFactor": "2.0",
    "failureThreshold": "5",
    "recoveryTimeout": "30s",
    "emergencyFailureThreshold": "20",
    "databases": "{orders: {failureThreshold: 3}}",
}

#: Items of lists and values of mappings with free keys, by the key of the list or mapping.
ITEMS = {
    "brokers": '{url: "${BROKER_URL}"}',
    "workers": "{queues: [email], concurrency: 4, serviceTime: 1.5s, replicas: {max: 5}}",
    "namespaces": "examx-production",
    "priorities": "9",
    "environments": "{}",
    "databases": "{failureThreshold: 3}",
    "queues": "email",
    "prioritySteps": "0",
    "policies": "{type: Pods, value: 3, periodSeconds: 60}",
    "schedule": '{cron: "50 8 * * 1-5", duration: 2h, minReplicas: 3}',
}


#: Values that break no rule, whatever stands beside them.
_HARMLESS: dict[str | int, object] = {"url": "amqp://", "concurrency": 1, "max": 10_000, "minReplicas": 1}


def example_at(path: Path) -> str:
    """What may stand at a path of the document, as YAML in one line."""
    step, parent = path[-1], model_at(path[:-1])
    if parent is None:
        return ITEMS[str(path[-2])]
    if words := words_at(path):
        return words[0]
    return EXAMPLES.get(f"{parent.__name__}.{step}") or EXAMPLES[str(step)]


def line_for(path: Path) -> str:
    """`key: example` for a path of the document, or `- example` for an item of a list."""
    return f"{'-' if isinstance(path[-1], int) else f'{word(path[-1])}:'} {example_at(path)}"


def stand_in(path: Path) -> object:
    """A value for what is missing or broken, with which the rest of the document can be judged."""
    if path[-1] in _HARMLESS:
        return _HARMLESS[path[-1]]
    if path[-2:-1] == ("queues",):
        return str(path)  # unlike any other queue
    if path[-2:-1] == ("namespaces",):
        return f"unlike-any-other-{path[-1]}"
    if not is_known(path):
        return None  # what holds it is of the wrong shape, and said to be
    return YAML(typ="safe", pure=True).load(example_at(path).replace("${BROKER_URL}", "amqp://"))
