"""`python -m scaler` is `celery-scaler`."""

from scaler.cli import main

if __name__ == "__main__":
    main()
