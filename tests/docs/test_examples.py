"""Figures that a page takes from another one stand there."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_of_bad_luck_is_a_certificate_of_the_guide() -> None:
    page = (DOCS / "simulation.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^worst backlog .*$", page, re.MULTILINE)

    assert f"  {shown}; " in (DOCS / "seed-claims.md").read_text(encoding="utf-8")
