"""No password in a policy file: it is in a repository, in a ConfigMap and on many screens.

A URL may take its password, or the whole of itself, from a variable or a file. The default
part of `${VAR:-default}` stands in the file as well, so it counts as written.
"""

import re

from scaler.policyfile.diagnostics import Finding, word
from scaler.policyfile.nodes import Mapping, Scalar
from scaler.policyfile.overlays import overlays
from scaler.policyfile.variables import pieces

#: Keys of a broker that hold a URL with a password.
URL_KEYS = ("url", "managementUrl")

#: RabbitMQ lets guest in from the same machine only, and everybody knows its password.
_WELL_KNOWN = re.compile(r"guest:guest@(localhost|127\.0\.0\.1|\[::1\])(?![\w.-])")

#: Stands for what a variable will put there.
_UNKNOWN = "\0"


def literal_passwords(root: Mapping) -> list[Finding]:
    """Broker URLs of the spec and of every overlay that have a password written into them."""
    spec = root.get("spec")
    specs = [spec, *(entry.node for entry in overlays(root).values())]
    return [finding for each in specs if isinstance(each, Mapping) for finding in _of_spec(each)]


def _of_spec(spec: Mapping) -> list[Finding]:
    brokers = spec.get("brokers")
    if not isinstance(brokers, Mapping):
        return []
    findings = []
    for name, broker in brokers.entries.items():
        for key in URL_KEYS:
            node = broker.node.get(key) if isinstance(broker.node, Mapping) else None
            if isinstance(node, Scalar) and isinstance(node.value, str) and _has_password(node.value):
                findings.append(
                    Finding(
                        node.place,
                        f"brokers.{word(name)}.{key} has a password written into it; take it from a variable"
                        f' ("${{BROKER_URL}}") or, for url, from a file (urlFile)',
                    )
                )
        secret = broker.node.get("sentinelPassword") if isinstance(broker.node, Mapping) else None
        if (
            isinstance(secret, Scalar)
            and isinstance(secret.value, str)
            and _filled(secret.value).strip(_UNKNOWN)
        ):
            findings.append(
                Finding(
                    secret.place,
                    f"brokers.{word(name)}.sentinelPassword is written into the file; take it from a variable"
                    ' ("${SENTINEL_PASSWORD}")',
                )
            )
    return findings


def _has_password(template: str) -> bool:
    return any(_is_written(part) for part in _filled(template).split(";"))


def _filled(template: str) -> str:
    """The text as far as it stands in the file, with a mark for what comes from outside."""
    try:
        return "".join(_literal(piece.literal, piece.name, piece.default) for piece in pieces(template))
    except ValueError:  # a malformed variable is reported where variables are expanded
        return template


def _literal(literal: str, name: str | None, default: str | None) -> str:
    if name is None:
        return literal
    return default if default is not None else _UNKNOWN


def _is_written(url: str) -> bool:
    rest = url.partition("://")[2] or url
    if _WELL_KNOWN.match(rest):
        return False
    if any(value.strip(_UNKNOWN) for value in re.findall(r"[?&](?:password|passwd|secret)=([^&#]*)", rest)):
        return True
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # An unescaped / in the password ends the authority early: then what looks like a port is none.
    odd = "@" not in authority and "@" in rest and not re.fullmatch(r"[^:]*(:\d+)?|\[.*\](:\d+)?", authority)
    credentials = (rest if odd else authority).rpartition("@")[0]
    return bool(credentials.partition(":")[2].strip(_UNKNOWN))
