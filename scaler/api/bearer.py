"""Who may change something over HTTP: whoever knows the token in a file.

The file is read at each request, so that a rotated secret works without a restart. At the start it must
be right; later a file that can't be used refuses changes and nothing else.
"""

import asyncio
import hmac
import os
from pathlib import Path

import structlog
from aiohttp import hdrs, web

log = structlog.get_logger(__name__)

#: Shorter tokens can be guessed.
LEAST_TOKEN_LENGTH = 16
_REMEDY = (
    f"write one line of {LEAST_TOKEN_LENGTH} characters or more to a file, as `openssl rand -hex 24` does,"
    " or leave the option away"
)


class TokenError(ValueError):
    """The file can't be used; the text names it and the remedy, and holds nothing of what is in it."""


class Bearer:
    """Guards the requests that change something."""

    def __init__(self, token_file: Path | None) -> None:
        """Without a file every such request is refused.

        Raises:
            TokenError: there is no token in the file.
        """
        self._token_file = token_file
        self._fault = ""
        if token_file is not None:
            _own_token(token_file)

    async def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that isn't allowed; None for one that is."""
        if self._token_file is None:
            return _no(403, "changes are switched off; start the service with --token-file")
        try:
            token = await asyncio.to_thread(_own_token, self._token_file)
        except TokenError as error:
            self._note(str(error))
            # Whoever asks needn't know where the service keeps its secrets.
            return _no(503, "the service can't use its token file any more; its log says why")
        self._note("")
        kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), token.encode()
        ):
            return None
        return _no(401, "a valid token is needed: Authorization: Bearer …")

    def _note(self, fault: str) -> None:
        """Say it once, not at each request."""
        if fault and fault != self._fault:
            log.error("changes over HTTP are refused", why=fault)
        elif self._fault and not fault:
            log.info("the token file can be used again")
        self._fault = fault


def read_token(path: Path, *, remedy: str, least: int = 1) -> str:
    """The token in a file: one line of at least so many printable ASCII characters.

    Raises:
        TokenError: the file can't be read, or holds something else; its text ends with the remedy.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise TokenError(f"{path} (--token-file) isn't text; {remedy}") from None
    except PermissionError as error:
        raise TokenError(
            f"can't read {path} (--token-file): {error.strerror}; let user {os.geteuid()} read it"
        ) from None
    except OSError as error:
        raise TokenError(f"can't read {path} (--token-file): {error.strerror}; {remedy}") from None
    if not token:
        raise TokenError(f"{path} (--token-file) is empty; {remedy}")
    if not (token.isascii() and token.isprintable()):
        raise TokenError(f"{path} (--token-file) holds more than one line of printable ASCII; {remedy}")
    if len(token) < least:
        raise TokenError(
            f"the token in {path} (--token-file) has {len(token)} characters, which can be guessed; {remedy}"
        )
    return token


def _own_token(path: Path) -> str:
    return read_token(path, remedy=_REMEDY, least=LEAST_TOKEN_LENGTH)


def _no(status: int, why: str) -> web.Response:
    headers = {hdrs.WWW_AUTHENTICATE: "Bearer"} if status == 401 else None  # noqa: PLR2004 - unauthorized
    return web.json_response({"error": why}, status=status, headers=headers)
