"""What can go wrong with the API server, as far as it matters to those who read from it.

The texts are made here, from the status and the resource: the server's own words may repeat a token
or a user, and a proxy in between may say anything.
"""

from http import HTTPStatus


class ClusterError(Exception):
    """The API server couldn't be read or written. The text is safe to show and names a remedy."""

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


class MissingError(RefusedError):
    """The named object doesn't exist (404)."""


class ConflictError(ClusterError):
    """Somebody else was first (409): the object was changed, or is there already."""


class ThrottledError(ClusterError):
    """The API server has too much to do (429)."""


#: Kinds that come with something that may not be installed, and with what.
_COMES_WITH = {"scaledobjects": "KEDA", "metrics": "metrics-server"}


#: Rights that a reader of lists needs.
READING = "list and watch"


def error_of(
    status: int, what: str, place: str, retry_after: str | None, *, right: str = READING
) -> ClusterError:
    """The error for an answer that isn't 2xx.

    Args:
        status: HTTP's.
        what: the plural that was asked for, such as "pods".
        place: "namespace celery".
        retry_after: the header of that name.
        right: the verbs that the request needs.
    """
    after = _seconds(retry_after)
    match status:
        case HTTPStatus.GONE:
            error: ClusterError = GoneError(f"the version of {what} is too old")
        case HTTPStatus.UNAUTHORIZED:
            error = UnauthorizedError("the API server refuses the token (401); check the service account")
        case HTTPStatus.FORBIDDEN:
            verb = "read" if right == READING else right
            error = RefusedError(f"no right to {verb} {what}; grant {right} on {what} in {place}")
        case HTTPStatus.CONFLICT:
            error = ConflictError(f"{what} in {place} was changed by somebody else")
        case HTTPStatus.NOT_FOUND if right != READING:
            error = MissingError(f"there is no such object among {what} in {place}")
        case HTTPStatus.NOT_FOUND:
            comes_with = _COMES_WITH.get(what, "what serves them")
            error = RefusedError(f"the cluster has no {what}; install {comes_with}")
        case HTTPStatus.TOO_MANY_REQUESTS:
            error = ThrottledError("the API server is overloaded (429)", retry_after=after)
        case _:
            text = f"the API server answers {status} for {what}; look at its state"
            error = ClusterError(text, retry_after=after)
    return error


def _seconds(header: str | None) -> float:
    """The header in seconds; the API server writes whole seconds, and an hour is no answer to wait for."""
    return min(60.0, float(header)) if header and header.isascii() and header.isdigit() else 0.0
