# The image of Switchboard: docs/image.md. A build of your own may name its base by digest:
#   docker build --build-arg BASE=debian@sha256:... --tag switchboard .
ARG BASE=debian:trixie-slim

# --- what is built here does not go into the image, but for /opt/switchboard ----------------------------------
FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements-build.lock \
    && python3 -m venv --without-pip /opt/switchboard \
    && /tools/bin/pip --python /opt/switchboard install --no-cache-dir --no-compile --require-hashes \
        --requirement requirements.lock

# `serve` needs neither Daphne, with all that it alone brings, nor translations: its pages are English.
RUN /tools/bin/pip --python /opt/switchboard uninstall --yes autobahn Automat cbor2 constantly daphne hyperlink \
        Incremental pyOpenSSL service-identity Twisted txaio ujson zope.interface \
    && find /opt/switchboard -path '*/locale/*' -name '*.[mp]o' ! -path '*/locale/en/*' -delete \
    && find /opt/switchboard -name '*.map' -delete

COPY LICENSE README.md pyproject.toml requirements.txt requirements-otel.txt ./
COPY broker_project broker_project
COPY routing_app routing_app
COPY sessions_app sessions_app
COPY switchboard switchboard
COPY switchboard_server switchboard_server
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /tools/bin/pip --python /opt/switchboard install --no-cache-dir --no-compile --no-deps /wheel/*.whl

# The root file system is read-only: all that a server imports is compiled now, by a first start that ends.
RUN VAR_DIR=/tmp/var DJANGO_SETTINGS_MODULE=broker_project.settings /opt/switchboard/bin/python -c \
        'import broker_project.asgi, broker_project.serving.launch, hiredis, psycopg_pool, psycopg_binary' \
    && VAR_DIR=/tmp/var /opt/switchboard/bin/switchboard-server migrate --verbosity 0 \
    && VAR_DIR=/tmp/var /opt/switchboard/bin/switchboard-server check

# --- the image ------------------------------------------------------------------------------------------------
FROM ${BASE}
LABEL org.opencontainers.image.title="Switchboard" \
      org.opencontainers.image.description="One self-hosted WebSocket broker that speaks five existing protocols" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /usr/lib/python3.*/test \
    && useradd --no-log-init --uid 10001 --user-group --no-create-home --home-dir /var/lib/switchboard \
        --shell /usr/sbin/nologin switchboard \
    && install --directory --owner=switchboard --group=switchboard /var/lib/switchboard

COPY --from=build /opt/switchboard /opt/switchboard
COPY deploy/image/healthcheck.py /opt/switchboard/healthcheck.py

ENV PATH=/opt/switchboard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOST=0.0.0.0 \
    PORT=8000 \
    VAR_DIR=/var/lib/switchboard \
    PYTHONDONTWRITEBYTECODE=1
# Secrets and the SQLite file, and what is temporary where /tmp cannot be written.
VOLUME /var/lib/switchboard
WORKDIR /var/lib/switchboard
USER 10001:10001
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-I", "-S", "/opt/switchboard/healthcheck.py"]
# The server drains: clients are told 1012, handlers may end. Give it longer than DRAIN_SECONDS: docker stop --time 30
STOPSIGNAL SIGTERM
ENTRYPOINT ["switchboard-server"]
CMD ["serve"]
