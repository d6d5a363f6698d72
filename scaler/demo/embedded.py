"""The embedded broker: `python -m scaler.demo.embedded PORT` speaks the Redis protocol on loopback.

fakeredis keeps everything in this process. It has all that Celery's workers ask of a broker
(BRPOP, MULTI, WATCH, hashes, sorted sets, pub/sub, kombu's Lua scripts). What it lacks, measured
against redis-server 7.0 with Celery 5.7: 3 ms of CPU per task instead of 0.2, so a few hundred
tasks per second at most; a push reaches a waiting worker up to 10 ms late, because it polls; a
worker that is killed while it waits can take a message with it (13 in 14 kills under 45 tasks/s;
redis-server 2); nothing is kept on disk. Good for a demo, not for production.
"""

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serve until the process is ended."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])))
    server.daemon_threads = True
    # fakeredis writes each reply of a pipeline by itself; with Nagle's algorithm that costs 44 ms
    # a pipeline instead of 0.2, and a worker then fetches 10 tasks per second at most.
    server.RequestHandlerClass.disable_nagle_algorithm = True  # type: ignore[attr-defined]  # a class, to mypy a callable
    server.serve_forever()


if __name__ == "__main__":
    main()
