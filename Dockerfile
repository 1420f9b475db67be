# One image for the Dagster webserver, the Dagster daemon and the review app: they differ by command only
# (see compose.yaml). Nothing is compiled: all dependencies come as wheels, with the versions and hashes of
# requirements.lock.
#
# To pin the base to one digest as well, ask for it and append it to the line below as @sha256:...
#   docker buildx imagetools inspect python:3.12.13-slim-bookworm --format '{{.Manifest.Digest}}'
FROM python:3.12.13-slim-bookworm AS base

FROM base AS build
WORKDIR /build
# Without pip of its own: the one of the base image installs into it.
RUN python -m venv --without-pip /opt/venv
# First what changes rarely: a change of the project alone does not download the dependencies again.
COPY requirements.lock ./
RUN pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
    -r requirements.lock
COPY pyproject.toml README.md ./
COPY ifcb_flow_pipeline ./ifcb_flow_pipeline
# The build backend is in the lock, so nothing is downloaded here.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-build-isolation .

FROM base
# The number is fixed because it owns the files in the data volume.
RUN groupadd --gid 10001 ifcb \
    && useradd --uid 10001 --gid ifcb --create-home --shell /usr/sbin/nologin ifcb \
    && install -d -o ifcb -g ifcb /data /archive /run/ifcb-flow
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/ifcb-flow
COPY workspace.yaml ./
COPY docker/dagster.yaml docker/entrypoint.sh ./docker/
COPY app ./app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/ifcb \
    MPLCONFIGDIR=/home/ifcb/.config/matplotlib \
    DAGSTER_HOME=/data/dagster \
    DAGSTER_DISABLE_TELEMETRY=yes \
    IFCB_FLOW_HOME=/data \
    IFCB_DATA_DIR=/archive \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none \
    STREAMLIT_SERVER_HEADLESS=true \
    IFCB_KERNEL_CACHE=/opt/ifcb-flow/kernels
# Compiled once, for all machines that the image may run on, and for its user to read only: what lies there is run.
RUN ifcb-flow warm
USER 10001:10001
EXPOSE 3000 8501
ENTRYPOINT ["sh", "/opt/ifcb-flow/docker/entrypoint.sh"]
CMD ["dagster-webserver", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]
