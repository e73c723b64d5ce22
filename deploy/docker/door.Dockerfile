# The HTTP door, without torch: `docker build -f deploy/docker/door.Dockerfile -t sfumato-door:0.1.0 .`
ARG PYTHON=3.11.13-slim-bookworm

FROM docker.io/library/python:${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY jobs jobs
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv && \
    python -m pip --python /opt/venv/bin/python install -c constraints.txt '.[service,otel]'

FROM docker.io/library/python:${PYTHON}
# wget is for KubeRay's probes. Package installers are removed.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends wget && \
    rm -rf /var/lib/apt/lists/* && \
    python -m pip uninstall -y --root-user-action=ignore setuptools wheel pip
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    HOME=/tmp
WORKDIR /tmp
# Only /tmp needs to be writable.
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "service.uvicorn_door", "--host", "*", "--port", "8000"]
