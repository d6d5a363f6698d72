"""A password may be in a variable or in a mounted file, and must be in nothing that we say."""

import logging
import traceback
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from scaler.core.policy import Broker
from scaler.policyfile import Diagnostic, PolicyError, load_policy

Diagnose = Callable[..., tuple[Diagnostic, ...]]
Edit = Callable[..., str]

URL = '"amqp://127.0.0.1:5672//"'
PASSWORD = "s3cr3t-Pa55"


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://shop:{PASSWORD}@rabbit:5672//",
        f"amqps://:{PASSWORD}@rabbit",
        f"redis://:{PASSWORD}@redis:6379/0",
        f"redis://redis:6379/0?password={PASSWORD}",
        f"${{BROKER_URL:-amqp://shop:{PASSWORD}@rabbit//}}",
        f"amqp://shop:${{BROKER_PASSWORD:-{PASSWORD}}}@rabbit//",
        f"amqp://shop:{PASSWORD}${{SUFFIX}}@rabbit//",
        f"amqp://shop:{PASSWORD}/with/slashes@rabbit//",
        f"amqp://127.0.0.1;amqp://shop:{PASSWORD}@rabbit//",
        f"sentinel://:{PASSWORD}@one:26379;sentinel://:{PASSWORD}@two:26379",
        f"shop:{PASSWORD}@rabbit",
        "amqp://guest:guest@rabbit.example.com//",
        "amqp://guest:guest@127.0.0.1.example.com//",
    ],
)
@pytest.mark.parametrize("key", ["url", "managementUrl"])
def test_a_password_written_into_a_url_is_a_fault_that_does_not_repeat_it(
    url: str, key: str, edited: Edit, diagnose: Diagnose
) -> None:
    mapping = f'{{url: "{url}"}}' if key == "url" else f'{{url: {URL}, managementUrl: "{url}"}}'

    faults = diagnose(
        edited((f"{{url: {URL}}}", mapping)),
        env={"BROKER_URL": "amqp://rabbit", "BROKER_PASSWORD": "x", "SUFFIX": "x"},
    )

    place = (6, mapping.index(url) - 1 + 11)
    written = [fault for fault in faults if "has a password written into it" in fault.message]
    assert [(fault.line, fault.column) for fault in written] == [place]
    assert f"brokers.main.{key} has a password" in written[0].message
    assert '"${BROKER_URL}"' in written[0].message
    assert "urlFile" in written[0].message
    assert PASSWORD not in "".join(map(str, faults))


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:guest@127.0.0.1:5672//",
        "amqp://guest:guest@localhost",
        "amqp://guest:guest@[::1]//",
        "amqp://shop@rabbit//",
        "amqp://shop:${BROKER_PASSWORD}@rabbit//",
        "amqp://${BROKER_USER}:${BROKER_PASSWORD}@rabbit//",
        "amqp://${BROKER_USER:-shop}:${BROKER_PASSWORD}@rabbit//",
        "${BROKER_URL}",
        "${BROKER_URL:-amqp://127.0.0.1:5672//}",
        "redis://redis:6379/0?client_name=a@b:c",
    ],
)
def test_urls_without_a_written_password_are_fine(url: str, edited: Edit, diagnose: Diagnose) -> None:
    env = {
        "BROKER_URL": f"amqp://shop:{PASSWORD}@rabbit",
        "BROKER_PASSWORD": PASSWORD,
        "BROKER_USER": "shop",
    }

    assert diagnose(edited((URL, f'"{url}"')), env=env) == ()


def test_a_password_in_the_overlay_of_another_environment_is_a_fault_too(
    edited: Edit, diagnose: Diagnose
) -> None:
    overlay = f'production: {{brokers: {{main: {{url: "amqp://shop:{PASSWORD}@rabbit"}}}}}}'

    (fault,) = diagnose(edited(("production: {}", overlay)), environment="uat")

    assert (fault.line, fault.column) == (23, 40)
    assert fault.message.endswith("(environment production)")


PLACES_FOR_A_SECRET = [
    ("metadata: {name: shop}", 'metadata: {name: "${SECRET}"}'),
    ("pool: gevent", "pool: ${SECRET}"),
    ("concurrency: 200", "concurrency: ${SECRET}"),
    ("serviceTime: 1.5s", "serviceTime: ${SECRET}"),
    ("serviceTime: 1.5s", "serviceTime: x${SECRET}s"),
    ("queues: [reports]", 'queues: "${SECRET}"'),
    ("queues: [reports]", 'queues: ["${SECRET}", "${SECRET}"]'),
    ("serviceTime: 18s", "serviceTime: 18s\n      broker: ${SECRET}"),
    ("serviceTime: 18s", 'serviceTime: 18s\n      limits: {overflow: "${SECRET}"}'),
    (
        "serviceTime: 18s",
        'serviceTime: 18s\n      schedule: [{cron: "${SECRET}", duration: 2h, minReplicas: 1}]',
    ),
    (
        "serviceTime: 18s",
        'serviceTime: 18s\n      schedule: [{cron: "0 8 * * *", timezone: "${SECRET}", duration: 2h}]',
    ),
    ("serviceTime: 18s", 'serviceTime: 18s\n      behavior: {scaleUp: {tolerance: "${SECRET}"}}'),
    (URL, '"${SECRET}"'),
    (URL, '"kafka://shop:${SECRET}@rabbit"'),
    (URL, '"amqp://shop:${SECRET}/x@rabbit"'),
    (URL, '"amqp://rabbit:${SECRET}"'),
    ('5672//"}', '5672//", managementUrl: "${SECRET}"}'),
    ('5672//"}', '5672//", prioritySteps: ["${SECRET}"]}'),
    ("production: {}", 'production: "${SECRET}"'),
]


@pytest.mark.parametrize(("old", "new"), PLACES_FOR_A_SECRET)
@pytest.mark.parametrize("secret", [PASSWORD, "-19700101", f"amqp://shop:{PASSWORD}@rabbit:notaport//"])
def test_what_came_out_of_a_variable_is_in_no_message_no_repr_and_no_traceback(
    old: str, new: str, secret: str, edited: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    text = edited((old, new))
    env = {"SECRET": secret}
    try:
        load_policy(text, file="shop.yaml", environment=None, env=env)
    except PolicyError as error:
        chain = [error.__cause__, error.__context__]
        logging.getLogger("test").exception("broken")
        spoken = [str(error), repr(error), traceback.format_exc(), *map(repr, error.diagnostics)]
    else:
        pytest.fail("not refused")

    assert secret not in "\n".join([*spoken, caplog.text])
    assert PASSWORD not in "\n".join([*spoken, caplog.text])
    assert chain == [None, None], "pydantic's error would bring the values along"


def test_a_loaded_policy_shows_no_url(edited: Edit) -> None:
    text = edited(
        (URL, '"${BROKER_URL}"'),
        ("production: {}", 'production: {brokers: {main: {url: "${PRODUCTION_URL}"}}}'),
    )
    env = {"BROKER_URL": f"amqp://shop:{PASSWORD}@rabbit", "PRODUCTION_URL": f"amqp://:{PASSWORD}@rabbit"}

    for environment in (None, "production"):
        policy = load_policy(text, file="shop.yaml", environment=environment, env=env)
        spoken = f"{policy} {policy!r} {policy.spec.brokers} {policy.model_dump_json()}"
        url = policy.spec.brokers["main"].url
        assert PASSWORD not in spoken
        assert url is not None
        assert PASSWORD in url.get_secret_value()


def test_a_url_in_the_wrong_place_is_shown_without_its_credentials(edited: Edit, diagnose: Diagnose) -> None:
    (fault,) = diagnose(edited(("pool: gevent", f"pool: amqp://shop:{PASSWORD}@rabbit")))

    assert "workers.io.pool is 'amqp://…@rabbit', which is unknown" in fault.message


def test_what_stands_at_a_url_is_not_shown_whatever_it_is(edited: Edit, diagnose: Diagnose) -> None:
    (fault,) = diagnose(edited((URL, "987654321")))

    assert fault.message.startswith("brokers.main.url must be text, not this;")


def test_of_short_variables_only_the_name_is_shown_as_well(edited: Edit, diagnose: Diagnose) -> None:
    (fault,) = diagnose(edited(("serviceTime: 18s", "serviceTime: ${PIN}")), env={"PIN": "4x2"})

    assert fault.message == "workers.cpu.serviceTime: bad duration '${PIN}'; write 30s, 15m, 2h or 1h30m"


def test_errors_of_the_models_themselves_show_no_input() -> None:
    with pytest.raises(ValidationError) as caught:
        Broker.model_validate_json(f'{{"url": "kafka://shop:{PASSWORD}@rabbit", "uri": "{PASSWORD}"}}')

    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value)


@pytest.mark.parametrize(
    "written", [PASSWORD, f"${{SENTINEL_PASSWORD:-{PASSWORD}}}", f"{PASSWORD}${{SUFFIX}}"]
)
def test_a_sentinel_password_comes_from_a_variable(written: str, edited: Edit, diagnose: Diagnose) -> None:
    text = edited((f"{{url: {URL}}}", f'{{url: {URL}, sentinelPassword: "{written}"}}'))
    faults = diagnose(text, env={"SUFFIX": "x"})
    assert any("brokers.main.sentinelPassword is written into the file" in fault.message for fault in faults)
    assert PASSWORD not in "".join(map(str, faults))
