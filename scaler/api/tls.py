"""TLS at the doors: both sides of gRPC prove who they are, and a rotated certificate needs no restart.

New connections get what the files hold now; existing ones go on with what they began with, KEDA's
for half an hour at most (`grpc_server.MAX_AGE_SECONDS`). Files that don't fit together, which is
normal while they are replaced, change nothing.
"""

import asyncio
import ssl

import grpc
import structlog

from scaler.runtime.certificates import (
    CertificateError,
    CertificateFiles,
    Material,
    load,
    server_context,
    take_chain,
)
from scaler.runtime.clock import Clock
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

#: Seconds between two looks at the files: three small ones, and the kubelet takes up to a minute to
#: bring a changed Secret into a pod.
LOOK_SECONDS = 5.0


class Tls:
    """The certificate in force. Create it anywhere, run `follow` in the event loop."""

    def __init__(
        self,
        files: CertificateFiles,
        metrics: Metrics,
        clock: Clock,
        *,
        client_names: frozenset[str] = frozenset(),
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Reads the files.

        Args:
            files: the PEM files.
            metrics: takes dates and reloads.
            clock: judges whether a certificate is valid.
            client_names: names of which a client's certificate must have one; none: any that the CA signed.
            look_seconds: between two looks at the files; a parameter for tests.

        Raises:
            CertificateError: they can't be used.
        """
        self.client_names = client_names
        self._files = files
        self._metrics = metrics
        self._clock = clock
        self._look_seconds = look_seconds
        self._fault: str | None = None
        self._material = load(files, clock())
        self._configuration = _configuration(self._material)
        #: For the HTTP server; it asks for no client certificate, because Prometheus and kubelet have none.
        self.http_context: ssl.SSLContext = server_context(files)
        self._show_dates()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a port at which every client must show a certificate that the CA signed."""
        # gRPC asks for the configuration at each connection, from a thread of its own; what it gets is
        # prepared, so that no file is read there and nothing can fail.
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, lambda: self._configuration, require_client_authentication=True
        )

    async def follow(self) -> None:
        """Take up what the files hold whenever it has changed and fits together; never returns."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                material = await asyncio.to_thread(load, self._files, self._clock())
                if material != self._material:
                    self._take(material)
            except CertificateError as error:
                self._keep(str(error))
            else:
                self._fault = None
                self._metrics.tls_broken.set(0)

    def _take(self, material: Material) -> None:
        take_chain(self.http_context, self._files)
        self._configuration = _configuration(material)
        self._material = material
        self._show_dates()
        self._metrics.tls_reload_total.labels("applied").inc()
        log.info("certificates reloaded", expires_at=material.expires_at)

    def _keep(self, fault: str) -> None:
        """Say it once, not at each look."""
        self._metrics.tls_broken.set(1)
        if fault != self._fault:
            self._fault = fault
            self._metrics.tls_reload_total.labels("broken").inc()
            log.error("certificates can't be used; the previous ones stay in force", why=fault)

    def _show_dates(self) -> None:
        expiry = self._metrics.tls_certificate_expiry_timestamp_seconds
        expiry.labels("server").set(self._material.expires_at)
        expiry.labels("ca").set(self._material.ca_expires_at)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)
