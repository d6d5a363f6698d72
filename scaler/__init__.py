"""celery-scaler: a KEDA external scaler for Celery workers."""

__version__ = "0.1.0"
