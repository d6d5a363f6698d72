"""docs/policy-reference.md against the models: every key, every default, and an example that works."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from scaler.core import policy
from scaler.core.policy.behavior import ScaleDownRules, ScaleUpRules, ScalingStep
from scaler.core.policy.operations import BreakerRule
from scaler.core.policy.values import DURATION_PATTERN, Model, format_duration
from scaler.core.policy.worker import Drain
from scaler.policyfile import load_policy
from scaler.policyfile.review import review
from scaler.policyfile.shape import known_keys

REFERENCE = Path(__file__).parents[2] / "docs" / "policy-reference.md"
TEXT = REFERENCE.read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("## A full example") :].split("```yaml\n")[1].split("```")[0]

MODELS: list[type[Model]] = [
    *(
        policy.ScalingPolicy,
        policy.Metadata,
        policy.Spec,
        policy.Broker,
        policy.WorkerPolicy,
        policy.ScaleTarget,
    ),
    *(policy.Objective, policy.Replicas, policy.Resources, policy.Behavior, ScaleUpRules, ScaleDownRules),
    *(ScalingStep, policy.Limits, policy.ScheduleWindow, policy.Alerts, policy.AlertLevel, policy.Breakers),
    *(BreakerRule, Drain),
]


def table(title: str) -> dict[str, tuple[str, str]]:
    """Default and bounds by key, from the table below a heading."""
    section = re.split(
        r"^#{2,3} ", TEXT[TEXT.index(f"\n### {title}\n") + 5 :], maxsplit=1, flags=re.MULTILINE
    )[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:3] == "| `"
    ]
    return {key.strip("`"): (default.strip("`"), bounds) for key, _, default, bounds in rows}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_described_and_no_other(model: type[Model]) -> None:
    assert list(table(model.__name__)) == list(known_keys(model)), "in the order of the model"


def test_every_model_has_its_section() -> None:
    definitions = set(policy.ScalingPolicy.model_json_schema()["$defs"]) | {"ScalingPolicy"}

    assert {model.__name__ for model in MODELS} == definitions


#: Defaults that are described in words.
WORDS = {
    "broker": "the first",
    "namespace": "the scaler's own",
    "namespaces": "all",
    "scaleUp": "the HPA's",
    "scaleDown": "the HPA's",
}


def written(model: type[Model], key: str, field: FieldInfo) -> str:  # noqa: PLR0911 - one per kind
    """A default as the reference has it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if key == "policies":
        return " or ".join(str(step) for step in default).replace("4 pods per 15 s or", "4 pods or")
    if default is None or key in WORDS:
        return WORDS.get(key, "none")
    if isinstance(default, Model) or default == {}:
        return "{}"
    properties: dict[str, Any] = model.model_json_schema()["properties"][key]
    if properties.get("pattern") == DURATION_PATTERN:
        return format_duration(default)
    if isinstance(default, tuple):
        return json.dumps(default)
    if default == "\x06\x16":
        return r'"\x06\x16"'
    if default == "":
        return '""'
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_default_is_the_one_of_the_model(model: type[Model]) -> None:
    described = table(model.__name__)

    for key, field in known_keys(model).items():
        assert described[key][0] == written(model, key, field), key


def test_bounds_are_the_ones_of_the_models() -> None:
    checked = 0
    for model in MODELS:
        for key, field in known_keys(model).items():
            bounds = table(model.__name__)[key][1]
            for number in bounds_of(str(field.rebuild_annotation())):
                checked += 1
                assert re.search(rf"(?<!\d){number}(?!\d)", bounds), f"{model.__name__}.{key}"
    assert checked > 40


def bounds_of(annotation: str) -> list[str]:
    return re.findall(r"\b(?:ge|le|gt|lt)=(\d+)", annotation)


@pytest.mark.parametrize("environment", [None, "production", "staging"])
def test_the_full_example_loads_in_every_environment(environment: str | None) -> None:
    loaded = load_policy(EXAMPLE, file="example.yaml", environment=environment, env={})

    staging = environment == "staging"
    assert loaded.spec.workers["mail"].replicas.max == (2 if staging else 20)
    assert len(loaded.spec.workers["mail"].schedule) == (0 if staging else 1)
    assert loaded.spec.broker_of("reports") == "cache"


def test_the_full_example_has_no_traps(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(EXAMPLE, encoding="utf-8")

    found = review(file, "production", {})

    assert (found.errors, found.warnings) == ([], [])


def test_links_lead_to_headings() -> None:
    headings = {
        title.strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
