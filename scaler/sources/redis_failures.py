"""Which kind of error an answer of Redis is, and what a person can do about it."""

import socket
import ssl

from redis import exceptions as failure
from redis.asyncio.sentinel import MasterNotFoundError

from scaler.sources.failures import CALL_TIMEOUT, Rule, denied, unavailable

#: From the special to the general. Values: place, host, database, master, hint.
REDIS_RULES = (
    Rule(
        (MasterNotFoundError,),
        unavailable,
        "no sentinel at {place} … answers for a master {master!r}; check masterName and the sentinels",
    ),
    Rule((failure.BusyLoadingError,), unavailable, "Redis at {place} is still loading its data; wait for it"),
    Rule(
        (failure.AuthenticationError, failure.AuthenticationWrongNumberOfArgsError),
        denied,
        "Redis at {place} refused the user or password; check the credentials in the broker url",
    ),
    Rule(
        (failure.NoPermissionError, failure.AuthorizationError),
        denied,
        "Redis at {place} forbids reading the queues; allow the user LLEN, HLEN, HKEYS, HMGET and SMEMBERS",
    ),
    Rule(
        (failure.MovedError, failure.AskError, failure.ClusterCrossSlotError),
        denied,
        "Redis at {place} is a cluster, which Celery can't use; point the broker url at a single server",
    ),
    Rule(
        (failure.ResponseError,),
        denied,
        "Redis at {place}: a key with a queue's name is no list; is {database} the broker's database?",
        words=("WRONGTYPE",),
    ),
    Rule(
        (failure.ResponseError,),
        denied,
        "Redis at {place} has no database {database}; check the number at the end of the broker url",
        words=("DB index",),
    ),
    Rule(
        (failure.ResponseError,),
        unavailable,
        "Redis at {place} is blocked by a running script; see SCRIPT KILL",
        words=("BUSY",),
    ),
    Rule((failure.ResponseError,), unavailable, "Redis at {place} answered with an error; look at its log"),
    Rule(
        (failure.ConnectionError,),
        unavailable,
        "Redis at {place} has no room for another client; see maxclients",
        words=("max number of clients",),
    ),
    Rule(
        (ssl.SSLError,),
        denied,
        "Redis at {place} fails at TLS; check caFile, or ?ssl_cert_reqs=none in the url to trust it unseen",
    ),
    Rule(
        (failure.TimeoutError, TimeoutError),
        unavailable,
        f"Redis at {{place}} didn't answer within {CALL_TIMEOUT:g} s; is it hung, or its port filtered?",
    ),
    Rule(
        (socket.gaierror,),
        unavailable,
        "the name {host} isn't known to DNS; check the host in the broker url",
    ),
    Rule(
        (ConnectionRefusedError,),
        unavailable,
        "Redis at {place} refused the connection; is it running, and is this its port?",
    ),
    Rule(
        (Exception,),
        unavailable,
        "Redis at {place} closed the connection{hint}",
    ),
)
