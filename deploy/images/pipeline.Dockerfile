# syntax=docker/dockerfile:1
# Flowatlas pipeline. From the project's root, for any platform that Python's image has:
#   docker buildx build --platform linux/amd64,linux/arm64 -f deploy/images/pipeline.Dockerfile \
#     --build-arg BASE=python:3.13-slim-bookworm@sha256:... -t flowatlas-pipeline:0.1.0 .
# The digest below is no image's: who builds names the one that was reviewed, so none is built from whatever the tag is.
ARG BASE=python:3.13-slim-bookworm@sha256:0000000000000000000000000000000000000000000000000000000000000000

FROM ${BASE} AS build
SHELL ["/bin/sh", "-eu", "-c"]

WORKDIR /source
COPY . .
RUN deploy/images/install.sh pipeline /opt/flowatlas

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Flowatlas pipeline" \
      org.opencontainers.image.description="Watches a cluster, attributes and aggregates its flows, serves metrics" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/flowatlas /opt/flowatlas
ENV PATH=/opt/flowatlas/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["flowatlas"]
