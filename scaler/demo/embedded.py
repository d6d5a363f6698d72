"""The embedded broker: `python -m scaler.demo.embedded PORT` speaks the Redis protocol on loopback.

fakeredis keeps everything in this process. It has all that Celery's workers ask of a broker
(BRPOP, MULTI, WATCH, hashes, sorted sets, pub/sub, kombu's Lua scripts). What it lacks against
redis-server: a push reaches a waiting worker up to 10 ms late (it polls), about a twentieth of
the throughput (3 ms of CPU per task), and no persistence. Good for a demo, not for production.
"""

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serve until the process is ended."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])))
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
