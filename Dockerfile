# syntax=docker/dockerfile:1
# Build: docker build --tag celery-scaler:0.1.0 .
# The base is pinned by its digest; to move on, take the digest of a newer tag in both stages.

FROM python:3.13.15-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# What runs, in an environment of its own, exactly as locked. The layer is made anew only when the lock changes.
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv /opt/celery-scaler \
 && /opt/celery-scaler/bin/pip install --no-deps --require-hashes --only-binary :all: --requirement requirements/runtime.lock
# What builds, outside of it.
RUN pip install --no-deps --require-hashes --only-binary :all: --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY scaler scaler
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/celery-scaler/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/celery-scaler/bin/pip check \
 && /opt/celery-scaler/bin/python -m compileall -q /opt/celery-scaler/lib \
 && /opt/celery-scaler/bin/pip uninstall --yes --quiet pip

FROM python:3.13.15-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e
LABEL org.opencontainers.image.title="celery-scaler" \
      org.opencontainers.image.description="KEDA external scaler for Celery" \
      org.opencontainers.image.licenses="Apache-2.0"
# Logs at once, and no bytecode written beside a read-only root.
ENV PATH=/opt/celery-scaler/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/celery-scaler /opt/celery-scaler
# A number, so that Kubernetes can see that it isn't root.
USER 65532:65532
EXPOSE 9090 8080
# For Docker and Compose; Kubernetes has its own probes and passes this over.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
# In exec form: SIGTERM reaches the service, which then ends in good order.
ENTRYPOINT ["celery-scaler"]
CMD ["serve"]
