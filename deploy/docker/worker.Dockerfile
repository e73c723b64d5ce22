# A worker: no Ray in it. With a GPU, or without one by --build-arg VARIANT=cpu:
# `docker build -f deploy/docker/worker.Dockerfile -t sfumato-worker:0.1.0-gpu .`
ARG VARIANT=gpu

FROM docker.io/library/python:3.11.13-slim-bookworm AS base-cpu
ENV EXTRA=worker

# torch brings its own CUDA; ONNX Runtime finds cuDNN and cuBLAS here, and the node's driver is let in
# by this image's variables. CUDA 13 is what the pinned versions of both are built for.
FROM docker.io/nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS base-gpu
ENV EXTRA=worker-gpu
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends python3 && \
    rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM base-${VARIANT} AS build
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends python3-pip python3-venv && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY jobs jobs
COPY diffusion diffusion
COPY workers workers
# An index of torch's builds without CUDA makes the CPU's image a tenth of the size.
ARG TORCH_INDEX=""
# python3 is the base's own: the final stage has the same.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/venv && \
    /opt/venv/bin/python -m pip install -c constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[$EXTRA,otel]" && \
    /opt/venv/bin/python -m pip uninstall -y pip && \
    rm -f /opt/venv/bin/sfumato

# hadolint ignore=DL3006
FROM base-${VARIANT}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=passive \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 9400
# SIGTERM makes it give its jobs back, with their state, within seconds.
CMD ["celery", "-q", "-A", "workers.app", "worker", "-P", "threads"]
