"""README's explanation is what the code says of that moment: 4,000 mails of 12 s in front of one pod."""

from datetime import UTC, datetime
from pathlib import Path

from scaler.core.decide import WorkerClass, decide
from scaler.core.explain import explain
from scaler.core.observation import Observation, QueueReading
from scaler.core.state import WorkerState
from scaler.policyfile import load_directory_or_file

ROOT = Path(__file__).parents[2]


def test_explain_says_what_readme_shows() -> None:
    policy = load_directory_or_file(ROOT / "policies" / "examx.yaml", "production", {})["examx"]
    worker = policy.spec.workers["io"].model_copy(update={"service_time": 12.0})
    subject = WorkerClass("examx", "io", worker)
    burst = datetime(2026, 11, 24, 8, 0, 20, tzinfo=UTC).timestamp()

    def reading(now: float, ready: int) -> Observation:
        counts = {"email": ready, "api_calls": 0, "file_uploads": 0}
        queues = [QueueReading(name, count, 0, 0, consumers=1) for name, count in counts.items()]
        return Observation(now - 0.4, tuple(queues))

    state = WorkerState(desired=1)
    for second in range(30, 0, -1):
        state, _ = decide(subject, state, reading(burst - second, 0), burst - second)
    _, decision = decide(subject, state, reading(burst, 4000), burst)

    said = "\n".join(explain(decision, burst + 2, (1, 5)))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme[readme.index("$ celery-scaler explain io\n") :].split("\n", 1)[1].split("```")[0]

    assert shown.split() == said.split(), "but for the line breaks"
