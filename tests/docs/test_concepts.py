"""What explain says is in docs/concepts.md."""

import re
from pathlib import Path
from typing import get_args

from scaler.core.decision import Bound

TEXT = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text(encoding="utf-8")


def test_every_limit_has_its_line() -> None:
    table = TEXT[TEXT.index("| limit | why |") :].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]

    named = [name for cell in cells for name in re.findall(r"`(.*?)`", cell)]

    assert sorted(named) == sorted(get_args(Bound))
