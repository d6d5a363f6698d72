"""Where to listen, read strictly: gRPC's own reading binds port 34463 when told 99999."""

from urllib.parse import urlsplit


class AddressError(OSError):
    """The service can't listen there; the text names the address and what to do."""


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[ipv6]:port`; port 0 takes a free one.

    Raises:
        AddressError: no host, no port, or a port outside 0–65535.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.netloc != address:
        raise AddressError(
            f"bad address {address!r}; write host:port, such as 127.0.0.1:9090 or 0.0.0.0:9090"
        )
    return host, port
