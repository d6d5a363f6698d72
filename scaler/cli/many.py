"""Options that take several values in a row: `--assert 'late<1%' 'rejected=0'`.

The parser takes one value per option; so the option's name is repeated in front of every further one.
"""

from collections.abc import Iterable, Iterator

#: Options of `simulate` that may be followed by several values.
LISTS = ("--trace", "--replay", "--controller", "--compare", "--assert")


def spread(arguments: Iterable[str], options: Iterable[str] = LISTS) -> list[str]:
    """The arguments with the option's name in front of each value of such an option."""
    return list(_spread(arguments, frozenset(options)))


def _spread(arguments: Iterable[str], options: frozenset[str]) -> Iterator[str]:
    current, named = "", False
    for argument in arguments:
        if argument.startswith("-"):
            current, named = (argument, True) if argument in options else ("", False)
            yield argument
            continue
        if current and not named:
            yield current
        named = False
        yield argument
