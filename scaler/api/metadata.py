"""The trigger's metadata, read strictly: KEDA checks none of it, so a typo would go unseen.

Texts name keys and known values, never values of unknown keys: whoever puts a broker URL there
by mistake must not find the password in an event of the ScaledObject.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

#: Keys that mean something to us.
OUR_KEYS = ("policy", "workerClass")
#: Keys that KEDA reads itself and forwards all the same.
KEDA_KEYS = ("enableTLS", "scalerAddress", "unsafeSsl")
#: KEDA resolves `keyFromEnv` from the scale target's environment and keeps the suffix.
ENV_SUFFIX = "FromEnv"
#: Characters shown of a text that somebody else wrote. Names of policies and classes have at most 63.
SHOWN = 100


class MetadataError(ValueError):
    """The metadata can't be used; the text names the key, what is known, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which worker class a trigger asks for; without a policy, the only one that it may ask for."""

    worker_class: str
    policy: str | None


def parse_metadata(metadata: Mapping[str, str]) -> Target:
    """The worker class that a trigger's metadata names.

    Raises:
        MetadataError: an unknown key, a missing `workerClass`, or one value given twice.
    """
    for key in sorted(metadata):
        if key not in OUR_KEYS and key not in KEDA_KEYS and not key.endswith(ENV_SUFFIX):
            raise MetadataError(_unknown(key))
    worker_class = _value(metadata, "workerClass")
    if worker_class is None:
        raise MetadataError(
            "workerClass is missing; write workerClass: the name of a worker class of the policy"
            " (KEDA leaves workerClassFromEnv out where it can't resolve the variable)"
        )
    return Target(worker_class, _value(metadata, "policy"))


def _value(metadata: Mapping[str, str], key: str) -> str | None:
    """The value of `key` or of `keyFromEnv`; None where neither says anything."""
    if key in metadata and key + ENV_SUFFIX in metadata:
        raise MetadataError(f"{key} and {key}{ENV_SUFFIX} are both given; remove one of them")
    return shortened(metadata.get(key) or metadata.get(key + ENV_SUFFIX) or "") or None


def _unknown(key: str) -> str:
    known = sorted((*OUR_KEYS, *KEDA_KEYS))
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(key.casefold(), folded, n=1)
    hint = f", did you mean {folded[near[0]]}?" if near else ";"
    return (
        f"unknown metadata key {shortened(key)!r}{hint} known keys: {', '.join(known)}, and any …{ENV_SUFFIX}"
    )


def shortened(text: str) -> str:
    """At most `SHOWN` characters: a status travels in headers, where 8 KiB are the end."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
