"""The JSON Schema for editors, and the examples that our messages show, against the models."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from scaler.core import policy as models
from scaler.core.policy.values import Model
from scaler.policyfile.examples import EXAMPLES, ITEMS
from scaler.policyfile.schema import policy_schema, schema_text
from scaler.policyfile.shape import known_keys

POLICIES = Path(__file__).parents[2] / "policies"


def all_models() -> list[type[Model]]:
    found: list[type[Model]] = []
    todo: list[type[Model]] = [Model]
    while todo:
        children = todo.pop().__subclasses__()
        found += children
        todo += children
    return [model for model in found if model.__module__.startswith(models.__name__)]


def test_the_shipped_schema_is_in_step_with_the_models() -> None:
    shipped = (POLICIES / "scaling-policy.schema.json").read_text(encoding="utf-8")

    assert shipped == schema_text(), "renew it with celery-scaler check --print-schema"


def test_every_key_of_the_models_is_described_for_the_editor() -> None:
    definitions = policy_schema()["$defs"]

    for model in all_models():
        if model.__name__ in definitions:
            properties = definitions[model.__name__]["properties"]
            assert set(properties) == set(known_keys(model))
            assert all(field.get("description") for field in properties.values()), model


def test_an_overlay_is_a_spec_in_which_nothing_is_required() -> None:
    schema = policy_schema()
    definitions = schema["$defs"]

    (overlay,) = definitions["Spec"]["properties"]["environments"]["patternProperties"].values()
    assert overlay == {"$ref": "#/$defs/SpecOverlay"}
    reached = {name for name in definitions if name.endswith("Overlay")}
    assert {"WorkerPolicyOverlay", "ReplicasOverlay", "ScaleTargetOverlay", "BrokerOverlay"} <= reached
    for name in reached:
        assert "required" not in definitions[name]
        assert definitions[name]["additionalProperties"] is False, (
            "misspelt keys are marked in overlays as well"
        )
    assert "environments" not in definitions["SpecOverlay"]["properties"]
    items = definitions["WorkerPolicyOverlay"]["properties"]["schedule"]["items"]
    assert items == {"$ref": "#/$defs/ScheduleWindow"}, "lists are replaced whole, so their items are whole"


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].rsplit("/", 1)[1]} if "$ref" in node else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_reference_of_the_schema_leads_somewhere_and_nothing_is_left_over() -> None:
    schema = policy_schema()

    assert references(schema) == set(schema["$defs"])


def test_defaults_are_shown_as_they_are_written() -> None:
    worker = policy_schema()["$defs"]["WorkerPolicy"]["properties"]

    assert worker["startupTime"]["default"] == "45s"
    assert worker["prefetchMultiplier"]["default"] == 4


def test_numbers_and_words_may_come_out_of_variables() -> None:
    definitions = policy_schema()["$defs"]

    for model, key in (("Replicas", "max"), ("WorkerPolicy", "pool"), ("WorkerPolicy", "serviceTime")):
        assert {"$ref": "#/$defs/Variable"} in definitions[model]["properties"][key]["anyOf"]


def from_example(text: str) -> object:
    without_variables = text.replace("${BROKER_URL}", "amqp://").replace("${RABBITMQ_MANAGEMENT_URL:-}", "")
    return YAML(typ="safe", pure=True).load(without_variables)


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_key_has_an_example_that_is_valid_there(model: type[Model]) -> None:
    for key, field in known_keys(model).items():
        example = EXAMPLES.get(f"{model.__name__}.{key}", EXAMPLES.get(key))
        if "Literal" in str(field.annotation):
            continue  # the first of its words is the example
        assert example is not None, f"{model.__name__}.{key} needs an example"
        if key != "spec":  # its example is cut short with dots
            adapter = TypeAdapter[object](field.rebuild_annotation())
            adapter.validate_json(json.dumps(from_example(example)))


def test_every_item_of_a_list_or_of_named_entries_has_an_example_that_is_valid_there() -> None:
    fields = {key: field for model in all_models() for key, field in known_keys(model).items()}

    for key, example in ITEMS.items():
        item = from_example(example)
        container = [item] if "tuple" in str(fields[key].annotation) else {"name": item}
        TypeAdapter[object](fields[key].rebuild_annotation()).validate_json(json.dumps(container))
