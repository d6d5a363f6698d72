"""Whatever is in a file, the answer is a policy or a `PolicyError` with short lines; never a traceback."""

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import Diagnostic, PolicyError, load_policy

EXAMX = (Path(__file__).parents[2] / "policies" / "examx.yaml").read_text(encoding="utf-8")
LINES = EXAMX.splitlines()
NAMES = (None, "production", "uat", "development", "nowhere")

#: Three classes, in a tenth of the time that it takes to read the shipped policy.
SMALL = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: fuzz}
spec:
  brokers: {main: {url: "redis://broker:6379/0"}}
  workers:
    io: {queues: [email, sms], pool: gevent, concurrency: 200, serviceTime: 1.5s, replicas: {max: 5}}
    cpu: {queues: [grading], concurrency: 4, serviceTime: 18s, replicas: {min: 1, max: 3}}
    mixed: {queues: [reports], pool: threads, concurrency: 16, serviceTime: 4s, replicas: {max: 2}}
  environments:
    calm: {workers: {io: {replicas: {min: 2, max: 4}}}}
"""

#: What makes YAML, variables and pydantic stumble.
NASTY = [
    *("", "null", "~", "[]", "{}", "[[[[", "}}", "&a", "*a", "<<: *a", "<<: {a: 1}", "<<", "? a", "- - -"),
    *(
        "!!int x",
        "!!python/none",
        "---",
        "...",
        "%YAML 1.1",
        "\t",
        "\x00",
        "\x85",
        "\ufeff",
        '"',
        "'",
        "|",
        ">",
    ),
    *('"\\ud800"', '"\\UFFFFFFFF"', "${", "${A", "${A:-${B}}", "$${A}", "${A:-}", "1e999", ".nan", "-.inf"),
    *("9" * 5000, "0x", "0b", "0o9", "1_0_", "_", "2001-01-01", "1:30:00", "true", "yes", "on", "-1", "1.5"),
    *("🦊", "a: b: c", "# ", "@", "`", "%", "=", "environments:", "kind: Trace", "spec:", "workers: 5"),
    "io: {replicas: {max: 0}}",
]


def check(text: str | bytes, environment: str | None) -> None:
    """Any other exception than a PolicyError fails the test."""
    diagnostics: tuple[Diagnostic, ...] | None = None
    try:
        policy = load_policy(text, file="fuzz.yaml", environment=environment, env={"A": "\udc80"})
    except PolicyError as error:
        diagnostics = error.diagnostics
    else:
        assert isinstance(policy, ScalingPolicy)
        return
    assert diagnostics
    for diagnostic in diagnostics:
        assert diagnostic.line >= 1
        assert diagnostic.column >= 1
        assert "\n" not in str(diagnostic)
        assert len(str(diagnostic).encode()) < 600


@given(st.binary(max_size=300), st.sampled_from(NAMES))
@example(b"\xef\xbb\xbf", None)
@example(b'"\\x', None)
@example(b"%TAG !  \n---\n", None)
def test_random_bytes(text: bytes, environment: str | None) -> None:
    check(text, environment)


@given(st.text(alphabet=st.sampled_from(list("{}[]:,-?&*!|>'\"%@`#<= \n\tab1.$\\")), max_size=120))
def test_random_yaml_punctuation(text: str) -> None:
    check(text, None)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The shipped policy with a few lines or pieces of lines changed."""
    lines = list(LINES)
    for _ in range(draw(st.integers(min_value=1, max_value=4))):
        index = draw(st.integers(min_value=0, max_value=len(lines) - 1))
        line = lines[index]
        at = draw(st.integers(min_value=0, max_value=len(line)))
        until = draw(st.integers(min_value=at, max_value=len(line)))
        match draw(st.sampled_from(["replace", "insert", "delete", "repeat", "behind colon"])):
            case "replace":
                lines[index] = line[:at] + draw(st.sampled_from(NASTY)) + line[until:]
            case "insert":
                lines.insert(
                    index, " " * draw(st.integers(min_value=0, max_value=8)) + draw(st.sampled_from(NASTY))
                )
            case "delete":
                del lines[index]
            case "repeat":
                lines.insert(index, line)
            case _:
                lines[index] = line.partition(":")[0] + ": " + draw(st.sampled_from(NASTY))
        if not lines:
            break
    return "\n".join(lines)


@given(mutated(), st.sampled_from(NAMES))
@settings(max_examples=200, deadline=None)
def test_the_shipped_policy_with_a_few_mutations(text: str, environment: str | None) -> None:
    check(text, environment)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["io", "30s", "${A}", "${A:-1}", "amqp://", "email", "gevent", "examx"]),
)
keys = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["url", "queues", "replicas", "max", "min", "policies", "scaleUp", "cron"]),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


@given(
    st.dictionaries(st.sampled_from(["brokers", "workers", "priorities", "alerts", "environments"]), values)
)
@settings(max_examples=200, deadline=None)
def test_specs_of_any_shape(spec: dict[str, object]) -> None:
    import json

    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "fuzz"},
        "spec": spec,
    }
    for environment in (None, "io"):
        check(json.dumps(document), environment)


def test_the_small_policy_is_valid_without_an_overlay() -> None:
    assert (
        load_policy(SMALL, file="fuzz.yaml", environment="calm", env={}).spec.workers["io"].replicas.max == 4
    )


@given(values, st.sampled_from(["io", "cpu", "mixed"]))
@settings(max_examples=200, deadline=None)
def test_overlays_of_any_shape(value: object, name: str) -> None:
    import json

    overlay = json.dumps({"workers": {name: value}})
    check(f"{SMALL}    strange: {overlay}\n", "strange")
