"""Fails when a module outgrows its room: 500 lines, generated code exempt; past 250 it is named."""

import sys
from pathlib import Path

TARGET, LIMIT = 250, 500


def main() -> int:
    """Print the large modules; 1 if any is over the limit."""
    sizes = {
        path: len(path.read_text().splitlines())
        for path in sorted(Path("scaler").rglob("*.py"))
        if "pb" not in path.parts
    }
    for path, lines in sizes.items():
        if lines > TARGET:
            print(
                f"{path}: {lines} lines ({'over the limit of' if lines > LIMIT else 'above the target of'}"
                f" {LIMIT if lines > LIMIT else TARGET})"
            )
    return int(max(sizes.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
