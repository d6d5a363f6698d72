"""Who may change something over HTTP: whoever knows the token in a file.

The file is read at each request, so that a rotated secret works without a restart.
"""

import asyncio
import hmac
from pathlib import Path

from aiohttp import hdrs, web

#: Shorter tokens can be guessed.
LEAST_TOKEN_LENGTH = 16


class Bearer:
    """Guards the requests that change something."""

    def __init__(self, token_file: Path | None) -> None:
        """Without a file every such request is refused."""
        self._token_file = token_file

    async def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that isn't allowed; None for one that is."""
        if self._token_file is None:
            return _no(403, "changes are switched off; start the service with --token-file")
        try:
            text = await asyncio.to_thread(self._token_file.read_text)
        except (OSError, UnicodeDecodeError) as error:
            return _no(503, f"the service can't read its token file ({type(error).__name__})")
        token = text.strip()
        if len(token) < LEAST_TOKEN_LENGTH:
            return _no(
                503, f"the token in the service's file is shorter than {LEAST_TOKEN_LENGTH} characters"
            )
        kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), token.encode()
        ):
            return None
        return _no(401, "a valid token is needed: Authorization: Bearer …")


def _no(status: int, why: str) -> web.Response:
    headers = {hdrs.WWW_AUTHENTICATE: "Bearer"} if status == 401 else None  # noqa: PLR2004 - unauthorized
    return web.json_response({"error": why}, status=status, headers=headers)
