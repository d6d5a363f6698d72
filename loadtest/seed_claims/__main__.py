"""`python -m loadtest.seed_claims`: certify the guide's promises, and write docs/seed-claims.md."""

import argparse
from pathlib import Path

from loadtest.seed_claims.document import document
from scaler.policyfile import load_policy

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "policies" / "examx.yaml"
TARGET = ROOT / "docs" / "seed-claims.md"


def page() -> str:
    """The page as the shipped policy makes it today."""
    text = POLICY.read_text(encoding="utf-8")
    return document(load_policy(text, file=str(POLICY), environment="production", env={}))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=TARGET, help="the document to write")
    options = parser.parse_args()
    options.output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
