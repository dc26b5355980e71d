# The service with its shipped bundles' environments, as a user without rights.
#
#   docker build -t countermark .
#   docker compose -f docker/compose.yaml up      with Redis, hardened; docker/README.md says how
#
# Every package is the one whose hash a lock names. A machine that may only use an index of its own passes
# it: --build-arg PIP_INDEX_URL=... --build-arg UV_DEFAULT_INDEX=...

# --- build: the service's environment, and those of the shipped bundles ---------------------------------
FROM python:3.11-slim-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_CACHE_DIR=/tmp/uv-cache \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never

WORKDIR /src
COPY scripts/lock-entry.sh scripts/lock-entry.sh
COPY requirements.lock requirements.service.lock ./

# uv itself, by the hash in the lock.
RUN sh scripts/lock-entry.sh uv requirements.service.lock > /tmp/uv.lock \
    && pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r /tmp/uv.lock

RUN uv venv --python /usr/local/bin/python3.11 /opt/countermark \
    && uv pip sync --python /opt/countermark/bin/python --require-hashes --compile-bytecode \
        requirements.service.lock

# Countermark last: its files change more often than the locks.
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY clients clients
COPY service service
COPY verifiers verifiers
RUN uv build --wheel --build-constraints requirements.lock --require-hashes --out-dir /tmp/wheel \
    && uv pip install --python /opt/countermark/bin/python --no-deps --compile-bytecode /tmp/wheel/*.whl

# The environments go where the service looks for them. A volume that is new starts as a copy of this
# folder, so a container needs no index to run what ships.
RUN COUNTERMARK_DATA=/data /opt/countermark/bin/countermark verifier build --all

# --- the image -------------------------------------------------------------------------------------------
FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="Countermark" \
      org.opencontainers.image.description="Scores model outputs with verifiers that cannot change under you" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap g++ nodejs \
    && rm -rf /var/lib/apt/lists/*

COPY --from=build /opt/countermark /opt/countermark
COPY --from=build --chown=10001:10001 /data /data

# Bundles that an operator adds are built into the volume: the root file system may be read-only.
ENV PATH=/opt/countermark/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    UV_CACHE_DIR=/data/uv/cache \
    UV_PYTHON_INSTALL_DIR=/data/uv/python \
    COUNTERMARK_DATA=/data \
    COUNTERMARK_LOG_FORMAT=json

USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000

# Not by urllib: it would ask the proxy that an engine's configuration puts into every container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]

CMD ["countermark", "serve", "--host", "0.0.0.0"]
