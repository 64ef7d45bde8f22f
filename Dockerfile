# The sample app's image. Build it from the repository's root:
#
#   docker build --platform linux/amd64 --build-arg VERSION=v1 --tag ml-predictor:v1 .
#
# --platform linux/amd64: Cloud Run runs amd64. On an arm64 computer (Apple silicon) a build without it makes an image that
# Cloud Run refuses. On an amd64 computer it changes nothing.
#
# Only what every builder understands is used here (no RUN --mount, no here-documents), so the image comes out the same
# with DOCKER_BUILDKIT=0 and 1 and in Cloud Build.

# The base may be named from outside, for a place that can't reach Docker Hub.
ARG PYTHON_IMAGE=python:3.12-slim

# ---- Builder: installs, trains, and is thrown away ----
FROM ${PYTHON_IMAGE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# scikit-learn and what it needs: about ten times as much as the server. It stays in this stage.
COPY sample_app/requirements-train.txt ./
RUN python -m venv /opt/train \
 && /opt/train/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements-train.txt

# The server's environment. It gets no pip of its own: a server that never installs anything shouldn't be able to.
COPY sample_app/requirements.txt ./
RUN python -m venv --without-pip /opt/venv \
 && /opt/train/bin/python -m pip --python /opt/venv/bin/python install --require-hashes --only-binary=:all: -r requirements.txt

COPY sample_app/train.py ./
RUN /opt/train/bin/python train.py /opt/model/iris.json

# ---- Runtime: what is pushed. What changes least comes first ----
FROM ${PYTHON_IMAGE}
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/model /opt/model
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MODEL_FILE=/opt/model/iris.json \
    PORT=8080
WORKDIR /app
COPY sample_app/app/ ./

# A number, not a name: "run as non-root" can then be checked without looking into the image. It owns no file in here.
USER 10001:10001
EXPOSE 8080
# /health and not /healthz: Google's front end on Cloud Run keeps some paths that end in z for itself.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["python", "healthcheck.py"]
CMD ["gunicorn"]

# Build arguments come last: a new version or commit then changes no layer.
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
ENV MODEL_VERSION=${VERSION}
LABEL org.opencontainers.image.title="ml-predictor" \
      org.opencontainers.image.description="Names an iris from four lengths" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
