"""Every way to break a policy that we could think of: where we say it is, what is wrong, what to write.

Each case changes one place of a valid policy. `▶` marks where the fault has to be reported; it
is taken out before the policy is read. Exactly one diagnostic is expected, so that no fault
drags others behind it.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from scaler.policyfile import Diagnostic


class Case(NamedTuple):
    name: str
    old: str
    new: str
    what: str
    remedy: str


CASES = [
    # Keys.
    Case(
        "unknown key with a typo",
        "pool: gevent",
        "▶pol: gevent",
        "unknown key 'pol' in workers.io",
        "did you mean 'pool'? known keys: scaleTarget, broker, queues, hostnames,",
    ),
    Case(
        "Celery's spelling of a key",
        "serviceTime: 18s",
        "serviceTime: 18s\n      ▶acks_late: true",
        "unknown key 'acks_late' in workers.cpu",
        "did you mean 'acksLate'?",
    ),
    Case(
        "unknown key unlike any other",
        "{max: 3}\n  env",
        "{max: 3, ▶zzz: 1}\n  env",
        "unknown key 'zzz' in workers.cpu.replicas",
        "remove it; known keys: min, max",
    ),
    Case(
        "unknown key at the top",
        "metadata: {name: shop}",
        "metadata: {name: shop}\n▶status: {}",
        "unknown key 'status' in the policy",
        "known keys: apiVersion, kind, metadata, spec",
    ),
    Case(
        "duplicate key",
        "serviceTime: 18s",
        "serviceTime: 18s\n      ▶concurrency: 8",
        "the key 'concurrency' stands twice, first on line 18",
        "remove one of them",
    ),
    Case(
        "key that is no text", "{max: 3}\n  env", "{max: 3, ▶1: 2}\n  env", "a key must be text", "in quotes"
    ),
    Case(
        "missing key",
        "    cpu:\n      queues: [reports]\n",
        "    ▶cpu:\n",
        "workers.cpu needs queues",
        "write queues: [email]",
    ),
    Case(
        "missing key in a short mapping",
        "replicas: {max: 3}\n  env",
        "▶replicas: {min: 1}\n  env",
        "workers.cpu.replicas needs max",
        "write max: 5",
    ),
    Case(
        "missing kind",
        "apiVersion: scaler/v1\nkind: ScalingPolicy\n",
        "▶apiVersion: scaler/v1\n",
        "the policy needs kind",
        "write kind: ScalingPolicy",
    ),
    # Kinds of values.
    Case(
        "word instead of a number",
        "concurrency: 200",
        "concurrency: ▶many",
        "workers.io.concurrency must be a whole number, not 'many'",
        "write concurrency: 4",
    ),
    Case(
        "number in quotes",
        "concurrency: 200",
        'concurrency: ▶"200"',
        "must be a whole number, not '200'",
        "write concurrency: 4",
    ),
    Case(
        "fraction instead of a whole number",
        "{max: 3}\n  env",
        "{max: ▶2.5}\n  env",
        "workers.cpu.replicas.max must be a whole number, not 2.5",
        "write max: 5",
    ),
    Case(
        "yes instead of true",
        "acksLate: true\n      prefetch",
        "acksLate: ▶yes\n      prefetch",
        "workers.io.acksLate must be true or false, not 'yes'",
        "write acksLate: true",
    ),
    Case(
        "number instead of a text",
        "queues: [reports]",
        "queues: [▶7]",
        "workers.cpu.queues[0] must be text, not 7",
        "or put it in quotes",
    ),
    Case(
        "text instead of a list",
        "queues: [reports]",
        "queues: ▶reports",
        "workers.cpu.queues must be a list, not 'reports'",
        "write queues: [email]",
    ),
    Case(
        "text instead of a mapping",
        "replicas: {max: 3}\n  env",
        "replicas: ▶3\n  env",
        "workers.cpu.replicas must be a mapping of keys, not 3",
        "write replicas: {min: 1, max: 5}",
    ),
    Case(
        "key with nothing behind it",
        "serviceTime: 18s",
        "serviceTime: 18s\n      ▶limits:",
        "workers.cpu.limits is empty",
        "write limits: {maxLength: 5000, overflow: reject-publish, messageTtl: 30m}, or remove the line",
    ),
    # Durations.
    Case(
        "duration without unit",
        "serviceTime: 1.5s",
        "serviceTime: ▶30",
        "workers.io.serviceTime: bad duration 30",
        "write 30s",
    ),
    Case(
        "duration with an unknown unit",
        "serviceTime: 1.5s",
        "serviceTime: ▶5min",
        "bad duration '5min'",
        "write 30s, 15m, 2h or 1h30m",
    ),
    Case(
        "duration of nothing",
        "serviceTime: 1.5s",
        "serviceTime: ▶0s",
        "workers.io.serviceTime is '0s', not more than 0",
        "write serviceTime: 1.5s",
    ),
    # Numbers out of bounds.
    Case(
        "negative number",
        "concurrency: 200",
        "concurrency: ▶-1",
        "workers.io.concurrency is -1, less than 1",
        "write concurrency: 1 or more",
    ),
    Case(
        "a million replicas",
        "{max: 3}\n  env",
        "{max: ▶1000000}\n  env",
        "workers.cpu.replicas.max is 1000000, more than 10000",
        "write max: 10000 or less",
    ),
    Case(
        "service level of 1",
        "serviceTime: 18s",
        "serviceTime: 18s\n      objective: {serviceLevel: ▶1.0}",
        "workers.cpu.objective.serviceLevel is 1.0, not less than 1",
        "write serviceLevel: 0.99",
    ),
    Case(
        "infinite number",
        "  environments:\n    prod",
        "  alerts: {warning: {latencyFactor: ▶.inf}}\n  environments:\n    prod",
        "'.inf' is no number that can be used",
        "write another",
    ),
    Case(
        "stabilization window beyond the HPA's",
        "serviceTime: 18s",
        "serviceTime: 18s\n      behavior: {scaleDown: {stabilizationWindowSeconds: ▶3601}}",
        "stabilizationWindowSeconds is 3601, more than 3600",
        "write stabilizationWindowSeconds: 3600 or less",
    ),
    Case(
        "period beyond the HPA's",
        "serviceTime: 18s",
        "serviceTime: 18s\n"
        "      behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: ▶1801}]}}",
        "workers.cpu.behavior.scaleUp.policies[0].periodSeconds is 1801, more than 1800",
        "write periodSeconds: 1800 or less",
    ),
    Case(
        "no scaling policies",
        "serviceTime: 18s",
        "serviceTime: 18s\n      behavior: {scaleUp: {▶policies: []}}",
        "workers.cpu.behavior.scaleUp.policies is empty",
        "write at least one, as in policies: [{type: Pods, value: 3, periodSeconds: 60}]",
    ),
    Case(
        "tolerance of 1",
        "serviceTime: 18s",
        'serviceTime: 18s\n      behavior: {scaleUp: {tolerance: ▶"1"}}',
        "bad tolerance '1'",
        'write a ratio such as "0" or "0.1"',
    ),
    Case(
        "priority beyond 9",
        "  environments:\n    prod",
        "  priorities: {critical: ▶10}\n  environments:\n    prod",
        "priorities.critical is 10, more than 9",
        "write critical: 9 or less",
    ),
    # Words.
    Case(
        "unknown pool",
        "pool: gevent",
        "pool: ▶gevnt",
        "workers.io.pool is 'gevnt', which is unknown",
        "did you mean 'gevent'? write one of: prefork, gevent, eventlet, threads, solo",
    ),
    Case(
        "unknown overflow",
        "serviceTime: 18s",
        "serviceTime: 18s\n      limits: {overflow: ▶block}",
        "workers.cpu.limits.overflow is 'block', which is unknown",
        "write one of: drop-head, reject-publish, reject-publish-dlx",
    ),
    Case(
        "future version",
        "apiVersion: scaler/v1",
        "apiVersion: ▶scaler/v2",
        "apiVersion is 'scaler/v2', which is unknown",
        "write one of: scaler/v1",
    ),
    Case(
        "name with capitals",
        "{name: shop}",
        "{name: ▶Shop}",
        "metadata.name can't be 'Shop'",
        "write at most 63 lower-case letters, digits and -",
    ),
    Case(
        "class with capitals",
        "    cpu:\n",
        "    ▶CPU:\n",
        "workers can't hold the name 'CPU'",
        "write at most 63 lower-case letters, digits and -",
    ),
    Case(
        "bad cron expression",
        "serviceTime: 18s",
        'serviceTime: 18s\n      schedule: [{cron: ▶"50 8 * * 1-9", duration: 2h, minReplicas: 2}]',
        "workers.cpu.schedule[0].cron: bad cron expression '50 8 * * 1-9': Bad day-of-week",
        'write five fields such as "50 8 * * 1-5"',
    ),
    Case(
        "unknown time zone",
        "serviceTime: 18s",
        "serviceTime: 18s\n"
        '      schedule: [{cron: "50 8 * * *", duration: 2h, minReplicas: 2, timezone: ▶Asia/Bangalor}]',
        "unknown time zone 'Asia/Bangalor'",
        "write an IANA name such as Asia/Kolkata or UTC",
    ),
    # Rules between keys.
    Case(
        "min above max",
        "{min: 1, max: 5}",
        "{min: ▶6, max: 5}",
        "workers.io.replicas: min 6 is greater than max 5",
        "write min: 5 or max: 6",
    ),
    Case("no queues", "queues: [reports]", "▶queues: []", "workers.cpu.queues is empty", "queues: [email]"),
    Case(
        "queue without a name",
        "queues: [reports]",
        'queues: [▶""]',
        "workers.cpu.queues[0] is empty",
        "write - email",
    ),
    Case(
        "queue twice in a class",
        "queues: [email, api]",
        "queues: [email, api, ▶email]",
        "workers.io: queue 'email' stands twice",
        "remove one",
    ),
    Case(
        "queue shared by classes",
        "queues: [reports]",
        "queues: [reports, ▶email]",
        "workers.cpu and workers.io share the queue 'email'; its load can't be split",
        "remove it from one of them",
    ),
    Case(
        "solo pool with slots",
        "concurrency: 4",
        "pool: solo\n      concurrency: ▶4",
        "workers.cpu: pool solo runs one task at a time, but concurrency is 4",
        "write concurrency: 1 or pool: prefork",
    ),
    Case(
        "a fast path to nowhere",
        "serviceTime: 18s",
        "serviceTime: 18s\n      fastPath: ▶true",
        "workers.cpu: fastPath needs the workload whose replicas it raises",
        "write scaleTarget: {name: the Deployment of the workers}",
    ),
    Case(
        "a fast path beside an HPA with a deadband",
        "serviceTime: 18s",
        "serviceTime: 18s\n      scaleTarget: {name: cpu}\n      hpaTolerance: 0.1\n      fastPath: ▶true",
        "workers.cpu: fastPath and hpaTolerance don't go together",
        "remove one of them",
    ),
    Case(
        "an unknown mode",
        "serviceTime: 18s",
        "serviceTime: 18s\n      mode: ▶shaddow",
        "workers.cpu.mode is 'shaddow', which is unknown",
        "did you mean 'shadow'? write one of: scale, shadow",
    ),
    Case(
        "schedule above max",
        "serviceTime: 18s",
        'serviceTime: 18s\n      schedule: [{cron: "50 8 * * *", duration: 2h, minReplicas: ▶4}]',
        "schedule[0] asks for minReplicas 4, more than replicas.max 3",
        "raise replicas.max or write minReplicas: 3",
    ),
    # Brokers.
    Case(
        "no brokers",
        '  brokers:\n    main: {url: "amqp://127.0.0.1:5672//"}',
        "  ▶brokers:\n    {}",
        "brokers is empty",
        'write at least one, as in brokers: {main: {url: "${BROKER_URL}"}}',
    ),
    Case(
        "broker without address",
        'main: {url: "amqp://127.0.0.1:5672//"}',
        "▶main: {}",
        "brokers.main: a broker needs either url or urlFile",
        "write one of them",
    ),
    Case(
        "broker with two addresses",
        '127.0.0.1:5672//"}',
        '127.0.0.1:5672//", urlFile: ▶/run/url}',
        "a broker needs either url or urlFile, not both",
        "remove one of them",
    ),
    Case(
        "broker nobody can read",
        '{url: "amqp://127.0.0.1:5672//"}',
        '{url: ▶"kafka://127.0.0.1"}',
        "brokers.main: url has the unknown scheme kafka",
        "write one of amqp, amqps, redis, rediss, sentinel://",
    ),
    Case(
        "broker with an impossible port",
        '{url: "amqp://127.0.0.1:5672//"}',
        '{url: ▶"amqp://127.0.0.1:567200//"}',
        "brokers.main: host or port of url can't be read",
        "percent-encode the special characters of the password",
    ),
    Case(
        "sentinel without master",
        '{url: "amqp://127.0.0.1:5672//"}',
        '{url: ▶"sentinel://127.0.0.1:26379"}',
        "a sentinel url needs masterName",
        "write masterName: mymaster",
    ),
    Case(
        "unknown broker",
        "serviceTime: 18s",
        "serviceTime: 18s\n      broker: ▶rabbit",
        "workers.cpu names the unknown broker 'rabbit'",
        "known: main",
    ),
    Case(
        "password in the file",
        '{url: "amqp://127.0.0.1:5672//"}',
        '{url: ▶"amqp://shop:pr1vate@rabbit:5672//"}',
        "brokers.main.url has a password written into it",
        'take it from a variable ("${BROKER_URL}")',
    ),
    Case(
        "namespace with a pattern",
        "spec:\n  brokers:",
        "spec:\n  namespaces: [shop, ▶shop-*]\n  brokers:",
        "namespaces[1] can't be 'shop-*'",
        "lower-case letters, digits and -",
    ),
    Case(
        "namespace twice",
        "spec:\n  brokers:",
        "spec:\n  namespaces: [shop, ▶shop]\n  brokers:",
        "namespace 'shop' stands twice",
        "remove one",
    ),
    Case(
        "no namespace at all",
        "spec:\n  brokers:",
        "spec:\n  ▶namespaces: []\n  brokers:",
        "namespaces is empty",
        "write at least one, as in namespaces: [examx-production]",
    ),
    # Variables and environments.
    Case(
        "unset variable",
        '"amqp://127.0.0.1:5672//"',
        '▶"${SHOP_BROKER}"',
        "variable SHOP_BROKER is not set",
        "set it, or write ${SHOP_BROKER:-default}",
    ),
    Case(
        "malformed variable",
        '"amqp://127.0.0.1:5672//"',
        '▶"${SHOP-BROKER}"',
        "bad variable",
        "write ${VAR} or ${VAR:-default}",
    ),
    Case(
        "overlay that is no mapping",
        "production: {}",
        "▶production: [io]",
        "environments.production must be a mapping like spec",
        "write production: {}",
    ),
    Case(
        "environments within environments",
        "production: {}",
        "production: {▶environments: {}}",
        "environments.production can't hold environments",
        "remove the key",
    ),
    # YAML itself.
    Case(
        "tab", "      concurrency: 4", "▶\tconcurrency: 4", "a tab can't be used here", "indent with spaces"
    ),
    Case(
        "colon in a text", "pool: gevent", "pool: a▶: b", "a colon can't stand here", "check the indentation"
    ),
    Case(
        "variable without quotes in braces",
        '{url: "amqp://127.0.0.1:5672//"}',
        "{url: $▶{SHOP_BROKER}}",
        "a comma or a closing bracket is missing",
        'a variable needs quotes: "${VAR}"',
    ),
    Case(
        "unknown alias", "pool: gevent", "pool: ▶*green", "this alias has no anchor above it", "quote the *"
    ),
    Case("tag", "pool: gevent", "pool: ▶!green gevent", "a tag (!) means nothing here", "remove it"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_policy_is_reported_where_it_is_broken_with_what_to_write(
    case: Case, edited: Callable[..., str], diagnose: Callable[..., tuple[Diagnostic, ...]]
) -> None:
    marked = edited((case.old, case.new))
    before, text = marked.split("▶")[0], marked.replace("▶", "")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")

    (diagnostic,) = diagnose(text)

    assert case.what in diagnostic.message
    assert case.remedy in diagnostic.message
    assert str(diagnostic) == f"shop.yaml:{line}:{column}: {diagnostic.message}"
    assert "\n" not in str(diagnostic)


def test_every_case_marks_its_place() -> None:
    assert all(case.new.count("▶") == 1 for case in CASES)
