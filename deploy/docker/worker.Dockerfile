# A worker, without Ray: `docker build -f deploy/docker/worker.Dockerfile -t sfumato-worker:0.1.0-gpu .`
# For CPUs add --build-arg VARIANT=cpu.
ARG VARIANT=gpu

FROM docker.io/library/python:3.11.13-slim-bookworm AS base-cpu
ENV EXTRA=worker

# torch brings its own CUDA; ONNX Runtime uses cuDNN and cuBLAS from this image, whose variables also
# enable the node's driver. The pinned versions of both are built for CUDA 13.
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
# An index of torch builds without CUDA reduces the CPU image to a tenth.
ARG TORCH_INDEX=""
# Uses the base image's python3, which the final stage has too.
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
# On SIGTERM it gives back its jobs, with their state, within seconds.
CMD ["celery", "-q", "-A", "workers.app", "worker", "-P", "threads"]
