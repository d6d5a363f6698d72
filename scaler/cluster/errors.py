"""What can go wrong with the API server, as far as it matters to those who read from it.

The texts are made here, from the status and the resource: the server's own words may repeat a token
or a user, and a proxy in between may say anything.
"""

from http import HTTPStatus


class ClusterError(Exception):
    """The API server couldn't be read. The text is safe to show and names a remedy."""

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        """`retry_after`: seconds that the server asks to wait, 0 where it doesn't say."""
        super().__init__(text)
        self.retry_after = retry_after


class GoneError(ClusterError):
    """The asked version is no longer kept (410): everything has to be listed anew."""


class UnauthorizedError(ClusterError):
    """The token isn't taken (401). The next attempt reads it anew, so that is soon."""


class RefusedError(ClusterError):
    """There is no right (403) or no such kind (404): a person has to act."""


#: Kinds that come with something that may not be installed, and with what.
_COMES_WITH = {"scaledobjects": "KEDA", "metrics": "metrics-server"}


def error_of(status: int, what: str, place: str, retry_after: str | None) -> ClusterError:
    """The error for an answer that isn't 2xx.

    Args:
        status: HTTP's.
        what: the plural that was asked for, such as "pods".
        place: "namespace celery".
        retry_after: the header of that name.
    """
    match status:
        case HTTPStatus.GONE:
            return GoneError(f"the version of {what} is too old")
        case HTTPStatus.UNAUTHORIZED:
            return UnauthorizedError("the API server refuses the token (401); check the service account")
        case HTTPStatus.FORBIDDEN:
            return RefusedError(f"no right to read {what}; grant get, list and watch on {what} in {place}")
        case HTTPStatus.NOT_FOUND:
            return RefusedError(
                f"the cluster has no {what}; install {_COMES_WITH.get(what, 'what serves them')}"
            )
        case HTTPStatus.TOO_MANY_REQUESTS:
            return ClusterError("the API server is overloaded (429)", retry_after=_seconds(retry_after))
        case _:
            text = f"the API server answers {status} for {what}; look at its state"
            return ClusterError(text, retry_after=_seconds(retry_after))


def _seconds(header: str | None) -> float:
    """The header in seconds; the API server writes whole seconds, and an hour is no answer to wait for."""
    return min(60.0, float(header)) if header and header.isascii() and header.isdigit() else 0.0
