"""Kubernetes' notations of numbers and times."""

import re
from datetime import datetime
from functools import lru_cache

#: k8s.io/apimachinery/pkg/api/resource: decimal and binary suffixes, and exponents.
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0} | {
    prefix + kind: float(base ** (power + 1))
    for kind, base, prefixes in (("", 1000, "kMGTPE"), ("i", 1024, "KMGTPE"))
    for power, prefix in enumerate(prefixes)
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([a-zA-Z]{0,2}))")
_WINDOW = re.compile(r"([0-9.]+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@lru_cache(maxsize=4096)
def quantity(text: str) -> float | None:
    """`500m` → 0.5, `1Gi` → 1073741824.0; None for what is no quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return float(number) * 10.0 ** int(exponent)
    factor = _SUFFIXES.get(suffix)
    return None if factor is None else float(number) * factor


def moment(text: str | None) -> float | None:
    """RFC 3339 in seconds since the epoch; None for nothing and for what can't be read."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def window(text: str | None) -> float:
    """Go's notation of a duration (`15.2s`, `1m0s`) in seconds; 0 for nothing."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _WINDOW.findall(text or ""))
