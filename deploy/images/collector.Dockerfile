# syntax=docker/dockerfile:1
# Flowatlas collector. From the project's root, for any platform that Python's image has:
#   docker buildx build --platform linux/amd64,linux/arm64 -f deploy/images/collector.Dockerfile \
#     --build-arg BASE=python:3.13-slim-bookworm@sha256:... -t flowatlas-collector:0.1.0 .
# The digest below is no image's: who builds names the one that was reviewed, so none is built from whatever the tag is.
ARG BASE=python:3.13-slim-bookworm@sha256:0000000000000000000000000000000000000000000000000000000000000000

FROM ${BASE} AS build
SHELL ["/bin/sh", "-eu", "-c"]
# clang compiles the eBPF programs into the wheel; they are the same for every platform
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang-14 llvm-14 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN deploy/images/install.sh collector /opt/flowatlas

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Flowatlas collector" \
      org.opencontainers.image.description="Reads a node's flows and ships them; needs Linux capabilities, see docs/explanation/collector.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# libbpf loads the eBPF programs
RUN apt-get update \
    && apt-get install -y --no-install-recommends libbpf1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/flowatlas /opt/flowatlas
ENV PATH=/opt/flowatlas/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["flowatlas"]
