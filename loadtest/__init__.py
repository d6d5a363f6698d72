"""Load on real brokers and real Celery workers, all on this machine."""
