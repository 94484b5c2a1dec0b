# One image for the extender, the carbon service and the command line.
#
#   docker build -t carbon-scheduler .     # or: podman build
#   docker build -t carbon-scheduler:full --build-arg LOCK=requirements-full.lock .
#
# The second one can also export the ledger as Parquet and draw pictures of profiles and back-tests. Behind a proxy or a mirror, hand pip its settings and
# certificates in as build secrets, which stay out of every layer:
#   --secret id=pip.conf,src=pip.conf --secret id=ca.crt,src=ca.crt   (`cert = /run/secrets/ca.crt` in pip.conf)

# Python 3.13 comes from Debian, with Debian's security updates. The tag carries no digest because updates
# arrive under the same tag; pin one here if you need the same base every time.
FROM docker.io/library/debian:trixie-slim AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tzdata \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/* /var/log/*

FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils python3-venv
# The second environment is copied into the image: it has no installer.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/carbon-scheduler
WORKDIR /src
COPY requirements-build.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /tools/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
ARG LOCK=requirements.lock
COPY ${LOCK} packages.lock
# Hashes are checked first. Then go the packages' own tests and the symbols of debuggers, a fifth of all.
# Libraries that auditwheel has moved (*.libs) are left as they are, because strip breaks some of them.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /tools/bin/pip --python /opt/carbon-scheduler/bin/python install \
      --no-cache-dir --no-compile --only-binary :all: --require-hashes -r packages.lock \
 && find /opt/carbon-scheduler/lib -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/carbon-scheduler/lib -name '*.so' -exec strip --strip-unneeded {} +
COPY pyproject.toml README.md LICENSE ./
COPY carbon_api carbon_api
COPY extender extender
RUN /tools/bin/hatchling build -t wheel -d /wheels \
 && /tools/bin/pip --python /opt/carbon-scheduler/bin/python install \
      --no-cache-dir --no-compile --no-index --no-deps /wheels/*.whl \
 && rm -rf /opt/carbon-scheduler/include /opt/carbon-scheduler/.gitignore \
 && mkdir -p /opt/carbon-scheduler/share/doc \
 && /tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type application \
      --output-file /opt/carbon-scheduler/share/doc/sbom.cdx.json /opt/carbon-scheduler \
 && cp LICENSE /opt/carbon-scheduler/share/doc/ \
# Bytecode that does not depend on file times.
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/carbon-scheduler/lib

FROM python
# Nothing but /tmp is ever written: run it with a read-only root and a tmpfs on /tmp.
ENV PATH=/opt/carbon-scheduler/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib HOME=/tmp
WORKDIR /tmp
# A number, because Kubernetes cannot judge by a name whether it is root.
USER 65532:65532
ENTRYPOINT ["carbon-scheduler"]
CMD ["--help"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="carbon-scheduler" \
      org.opencontainers.image.description="Gang- and carbon-aware kube-scheduler extender for Apache Spark on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
COPY --from=build /opt/carbon-scheduler /opt/carbon-scheduler
