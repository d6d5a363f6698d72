"""One connection to the Redis of a broker URL: TLS, Sentinel, and the next alternate after a failure."""

import asyncio
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scaler.sources.address import Address, TlsFiles, parse_addresses, tls_context, verifies
from scaler.sources.failures import CALL_TIMEOUT, CONNECT_TIMEOUT, denied


class RedisConnection:
    """Connects when asked to, and again after `give_up`."""

    def __init__(
        self,
        url: str,
        *,
        master_name: str | None,
        files: TlsFiles,
        sentinel_username: str | None,
        sentinel_password: str | None,
    ) -> None:
        """Nothing is connected yet.

        Raises:
            SourceDeniedError: the URL can't be understood.
        """
        self.master_name = master_name
        self._addresses = parse_addresses(url)
        self._files = files
        self._sentinel_login = {"username": sentinel_username, "password": sentinel_password}
        self._client: Redis | None = None
        self._sentinel: Sentinel | None = None

    @property
    def address(self) -> Address:
        """The alternate that is used now."""
        return self._addresses[0]

    @property
    def connected(self) -> bool:
        """Whether a client exists; its connection may be lost all the same."""
        return self._client is not None

    async def client(self) -> Redis:
        """The client, after a PING if it is a new one."""
        if self._client is not None:
            return self._client
        options = self._options()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if self.address.scheme == "rediss" or (self.address.scheme == "sentinel" and self._files):
                # Read here first: the client would report a missing file as a failed connection.
                await asyncio.to_thread(tls_context, self._files, self.address.query)
                options |= self._tls_options()
            if self.address.scheme == "sentinel":
                self._client = self._behind_sentinel(options)
            else:
                self._client = Redis(host=self.address.host, port=self.address.port, **options)
            await self._client.ping()
        return self._client

    async def give_up(self) -> None:
        """Disconnect after a failure; the next alternate of the URL is tried next."""
        if self.address.scheme != "sentinel":
            self._addresses = (*self._addresses[1:], self._addresses[0])
        await self.disconnect()

    async def disconnect(self) -> None:
        """Give all connections back."""
        client, self._client = self._client, None
        sentinel, self._sentinel = self._sentinel, None
        for closing in (client, sentinel):
            if closing is not None:
                await asyncio.gather(closing.aclose(), return_exceptions=True)

    def _behind_sentinel(self, options: dict[str, Any]) -> Redis:
        # A lost sentinel may cost only its share of the time, or the others are never asked.
        share = CONNECT_TIMEOUT / (len(self._addresses) + 1)
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
            [(address.host, address.port) for address in self._addresses],
            sentinel_kwargs={
                "socket_timeout": share,
                "socket_connect_timeout": share,
                "retry": options["retry"],
                "protocol": options["protocol"],
                **self._sentinel_login,
            },
        )
        client: Redis = self._sentinel.master_for(self.master_name or "", **options)
        return client

    def _options(self) -> dict[str, Any]:
        database = self.address.path.strip("/") or "0"
        if not database.isdecimal():
            raise denied(
                f"the database in the broker url of {self.address.place} isn't a number; write /0 … /15"
            )
        return {
            "db": int(database),
            "username": self.address.username,
            "password": self.address.password,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CALL_TIMEOUT,
            # The client's default retries 10 times, which takes 4 s at a refused port.
            "retry": Retry(NoBackoff(), 0),
            # RESP2: every Redis speaks it, and RESP3 adds a handshake for what we don't use.
            "protocol": 2,
        }

    def _tls_options(self) -> dict[str, Any]:
        query = self.address.query
        files = self._files.laid_over(query)
        checked = verifies(query)
        return {
            "ssl": True,
            "ssl_ca_certs": files.ca_file,
            "ssl_certfile": files.cert_file,
            "ssl_keyfile": files.key_file,
            "ssl_cert_reqs": "required" if checked else "none",
            "ssl_check_hostname": checked and query.get("ssl_check_hostname", "true").lower() != "false",
        }
