"""Which kind of error a failed connection to RabbitMQ is, and what a person can do about it."""

import socket
import ssl

from aio_pika.exceptions import AuthenticationError, InvalidFrameError, ProbableAuthenticationError

from scaler.sources.failures import CONNECT_TIMEOUT, Rule, denied, unavailable

#: From the special to the general. Values: place, host, vhost.
RABBITMQ_RULES = (
    Rule(
        (ProbableAuthenticationError, AuthenticationError),
        denied,
        "RabbitMQ at {place} refused the user or password; check the broker url"
        " (guest may log in from the broker's own host only)",
    ),
    # The library meets the broker's refusal of Connection.Open with "another frame was expected", without
    # the reason in it: no such virtual host, no rights on it, its connection limit, or it is down.
    Rule(
        (InvalidFrameError,),
        denied,
        "RabbitMQ at {place} doesn't open virtual host {vhost!r}; create it, grant rights, see its log",
        words=("Connection.OpenOk",),
    ),
    Rule(
        (ssl.SSLError,),
        denied,
        "RabbitMQ at {place} fails at TLS; check caFile, or ?ssl_cert_reqs=none in the url",
    ),
    Rule(
        (TimeoutError,),
        unavailable,
        f"RabbitMQ at {{place}} took no login in {CONNECT_TIMEOUT:g} s; is it hung, or its port filtered?",
    ),
    Rule(
        (socket.gaierror,),
        unavailable,
        "the name {host} isn't known to DNS; check the host in the broker url",
    ),
    Rule(
        (ConnectionRefusedError,),
        unavailable,
        "RabbitMQ at {place} refused the connection; is it running, and is this its AMQP port?",
    ),
    Rule(
        (BaseException,),
        unavailable,
        "RabbitMQ at {place} ended the connection at login; is it AMQP, and TLS on both sides or neither?",
    ),
)
