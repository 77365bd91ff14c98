# Two images from one file:
#   docker build --tag meshctl .                              sidecar, init container, controller and command line
#   docker build --tag meshctl-demo --target demo .           the programs of deploy/demo
# BASE is a Debian 12 with Python 3.11 or newer and pip; pin it by digest for a build that can be repeated.
# The Python packages' versions are those of deploy/constraints.txt. docs/deployment.md says more.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev libnghttp2-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY deploy/constraints.txt deploy/
# Cython and setuptools in an environment of their own, so that their versions are pinned as well.
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --constraint deploy/constraints.txt setuptools Cython
RUN python3 -m venv --without-pip /opt/meshctl
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY proxy proxy
COPY injector injector
COPY meshctl meshctl
# The command line carries the chart along; meshctl/chart/files leads there.
COPY deploy/chart deploy/chart
RUN /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/meshctl/bin/python install --no-cache-dir --only-binary :all: \
        --constraint deploy/constraints.txt "$(echo /wheels/*.whl)[controller,sidecar]"
# Of the Kubernetes client and of xDS much is never imported: classes for every type of the API, which is read as plain
# JSON, and Envoy's extensions. With the symbols for debuggers that is half of what would be installed.
RUN cd /opt/meshctl/lib/python3*/site-packages \
 && rm -r kubernetes_asyncio/client/api kubernetes_asyncio/client/models envoy/extensions \
 && find . -name '*.so' -exec strip --strip-debug {} +

FROM build AS build-demo
RUN python3 -m venv --without-pip /opt/demo \
 && /opt/build/bin/pip --python /opt/demo/bin/python install --no-cache-dir --only-binary :all: \
        --constraint deploy/constraints.txt grpcio protobuf

FROM ${BASE} AS demo
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="meshctl demo" \
      org.opencontainers.image.description="An emoji voting application on gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build-demo /opt/demo /opt/demo
COPY deploy/demo/*.py deploy/demo/page.html /opt/demo/app/
RUN chmod --recursive a+rX /opt/demo/app
WORKDIR /opt/demo/app
ENV PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/demo/bin/python"]

FROM ${BASE} AS meshctl
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="meshctl" \
      org.opencontainers.image.description="gRPC balanced call by call on Kubernetes: sidecar, controller, command line" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# iptables brings both backends, nft and legacy, for the init container.
RUN apt-get update \
 && apt-get install -y --no-install-recommends iptables libnghttp2-14 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
COPY --from=build /opt/meshctl /opt/meshctl
# What an injected sidecar runs with; the injector sets the rest by environment variables.
COPY deploy/sidecar.yaml /etc/meshctl/sidecar.yaml
# COPY keeps modes, and a checkout under a strict umask has files that only their owner may read.
RUN chmod 644 /etc/meshctl/sidecar.yaml
# Its user has no entry in passwd, and so no home: what asks for one must not fail.
ENV PATH=/opt/meshctl/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/ \
    PYTHONUNBUFFERED=1
USER 2102:2102
ENTRYPOINT ["meshctl"]
