"""What `serve` reads: a file, a folder or a mounted ConfigMap; and how policies must not clash."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scaler.policyfile import PolicyError, PolicyPathError, load_directory_or_file

Edit = Callable[..., str]


def faults_of(path: Path, environment: str | None = None) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_directory_or_file(path, environment, {})
    return [str(fault).removeprefix(f"{path}/") for fault in caught.value.diagnostics]


@pytest.fixture
def bakery(edited: Edit) -> str:
    """A second policy with queues of its own on the same broker."""
    return edited(
        ("{name: shop}", "{name: bakery}"),
        ("[email, api]", "[bread]"),
        ("queues: [reports]", "queues: [cake]"),
    )


def test_a_file_is_one_policy_under_its_name(tmp_path: Path, shop: str) -> None:
    file = tmp_path / "any-name.txt"
    file.write_text(shop)

    assert list(load_directory_or_file(file, None, {})) == ["shop"]


def test_a_folder_is_all_its_yaml_files_and_nothing_below(tmp_path: Path, shop: str, bakery: str) -> None:
    (tmp_path / "shop.yaml").write_text(shop)
    (tmp_path / "bakery.yml").write_text(bakery)
    (tmp_path / "scaling-policy.schema.json").write_text("{}")
    (tmp_path / ".hidden.yaml").write_text("- no policy")
    (tmp_path / "old.yaml").mkdir()
    (tmp_path / "old.yaml" / "broken.yaml").write_text("- no policy")

    assert sorted(load_directory_or_file(tmp_path, "uat", {})) == ["bakery", "shop"]


def test_a_mounted_config_map_is_read_through_its_links(tmp_path: Path, shop: str, edited: Edit) -> None:
    """The kubelet's layout: files link into `..data`, which links to the folder of one version."""
    for version, text in (("..1", shop), ("..2", edited(("{min: 1, max: 5}", "{min: 2, max: 5}")))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "shop.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "shop.yaml").symlink_to("..data/shop.yaml")
    assert load_directory_or_file(tmp_path, None, {})["shop"].spec.workers["io"].replicas.min == 1

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert load_directory_or_file(tmp_path, None, {})["shop"].spec.workers["io"].replicas.min == 2


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no policy")

    for path, expected in (
        (tmp_path / "missing", "can't be read: no such file or directory; check path and permissions"),
        (tmp_path, "no policy in this folder; put a file there whose name ends in .yaml or .yml"),
    ):
        with pytest.raises(PolicyPathError) as caught:
            load_directory_or_file(path, None, {})
        assert str(caught.value) == f"{path}:1:1: {expected}"


def test_what_cannot_be_read_in_a_folder_is_a_fault_beside_the_others(tmp_path: Path, shop: str) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").write_text(shop.replace("gevent", "green"))
    (tmp_path / "d.yaml").write_text("apiVersion: v1\nkind: ConfigMap\n")
    (tmp_path / "e.yaml").write_bytes(b"\xff")

    faults = faults_of(tmp_path)

    assert [fault.split(";")[0] for fault in faults] == [
        "a.yaml:1:1: can't be read: no such file or directory",
        "b.yaml:1:1: not a file that can be read",
        "c.yaml:10:13: workers.io.pool is 'green', which is unknown",
        "d.yaml:2:7: this is a 'ConfigMap', no policy",
        "e.yaml:1:1: not UTF-8 from here on",
    ]


def test_two_policies_must_not_have_the_same_name(tmp_path: Path, shop: str, bakery: str) -> None:
    (tmp_path / "1.yaml").write_text(shop)
    (tmp_path / "2.yaml").write_text(bakery.replace("{name: bakery}", "{name: shop}"))

    (fault,) = faults_of(tmp_path)
    assert fault == (
        f"2.yaml:3:18: the name 'shop' is taken by {tmp_path}/1.yaml;"
        " write another name, or remove one of the files"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("amqp://127.0.0.1:5672//", "amqp://127.0.0.1:5672//", True),
        ("amqp://rabbit", "amqp://rabbit:5672/%2F", True),
        ("amqp://one@rabbit", "amqp://two@rabbit", True),
        ("amqp://localhost//", "amqp://127.0.0.1", True),
        ("redis://redis", "redis://redis:6379/0", True),
        ("amqp://a;amqp://b", "amqp://b;amqp://a", True),
        ("amqp://rabbit//", "amqp://rabbit/shop", False),
        ("redis://redis/0", "redis://redis/1", False),
        ("amqp://rabbit", "amqp://rabbit:5673", False),
        ("amqp://rabbit", "redis://rabbit:5672", False),
    ],
)
def test_two_policies_must_not_claim_the_same_queue_of_the_same_broker(
    one: str, other: str, same: bool, tmp_path: Path, *, shop: str, bakery: str
) -> None:
    (tmp_path / "1.yaml").write_text(shop.replace("amqp://127.0.0.1:5672//", one))
    claims = bakery.replace("[bread]", "[bread, reports]").replace("amqp://127.0.0.1:5672//", other)
    (tmp_path / "2.yaml").write_text(claims)

    if same:
        (fault,) = faults_of(tmp_path)
        assert fault == (
            f"2.yaml:9:23: workers.io claims the queue 'reports', and so does cpu of {tmp_path}/1.yaml;"
            " its load can't be split: remove it from one of them"
        )
    else:
        assert len(load_directory_or_file(tmp_path, None, {})) == 2


def test_two_names_of_one_broker_do_not_make_two_queues_of_one(tmp_path: Path, edited: Edit) -> None:
    (tmp_path / "shop.yaml").write_text(
        edited(
            (
                '    main: {url: "amqp://127.0.0.1:5672//"}',
                '    main: {url: "amqp://rabbit"}\n    same: {url: "amqp://rabbit//"}',
            ),
            ("serviceTime: 1.5s", "broker: main\n      serviceTime: 1.5s"),
            ("queues: [reports]", "broker: same\n      queues: [email]"),
        )
    )

    (fault,) = faults_of(tmp_path)

    assert fault.startswith("shop.yaml:20:16: workers.cpu claims the queue 'email', and so does io of ")


def test_an_environment_has_to_be_known_to_every_policy(tmp_path: Path, shop: str, bakery: str) -> None:
    (tmp_path / "1.yaml").write_text(shop)
    (tmp_path / "2.yaml").write_text(bakery.replace("uat:", "test:"))

    assert faults_of(tmp_path, "uat") == ["2.yaml:22:3: unknown environment 'uat'; known: production, test"]
