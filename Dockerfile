# One image for the code server, the Dagster webserver and daemon, the review app and the HTTP interface: they differ by command only
# (see compose.yaml). Nothing is compiled: all dependencies come as wheels, with the versions and hashes of
# requirements.lock. docker/digests.sh pins the base to one digest as well.
ARG PYTHON_IMAGE=python:3.12.13-slim-bookworm
FROM ${PYTHON_IMAGE} AS base

FROM base AS build
WORKDIR /build
# Without pip of its own: the one of the base image installs into it.
RUN python -m venv --without-pip /opt/venv
# First what changes rarely: a change of the project alone does not download the dependencies again.
COPY requirements.lock ./
RUN pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
    -r requirements.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ifcb_flow_pipeline ./ifcb_flow_pipeline
COPY app ./app
# The build backend is in the lock, so nothing is downloaded here.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-build-isolation .

FROM base
# The number is fixed because it owns the files in the data volume.
RUN groupadd --gid 10001 ifcb \
    && useradd --uid 10001 --gid ifcb --create-home --shell /usr/sbin/nologin ifcb \
    && install -d -o ifcb -g ifcb /data /archive
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/ifcb-flow
COPY ifcb_flow_pipeline/defs/dagster.yaml ifcb_flow_pipeline/defs/postgres.yaml docker/workspace.yaml \
    docker/entrypoint.sh ./docker/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/ifcb \
    XDG_CACHE_HOME=/data/cache \
    MPLCONFIGDIR=/data/cache/matplotlib \
    DAGSTER_DISABLE_TELEMETRY=yes \
    IFCB_FLOW_HOME=/data \
    IFCB_DATA_DIR=/archive \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none \
    STREAMLIT_SERVER_HEADLESS=true \
    IFCB_KERNEL_CACHE=/opt/ifcb-flow/kernels
# What whoever ran ifcb-flow-metric's image calls by name.
COPY docker/flow_metric ./
# The review app came with the package; compose.yaml knows it as app/main.py.
RUN ln -s "$(python -c 'from ifcb_flow_pipeline.serving import app_script; print(app_script().parent)')" app
# Compiled once, for all machines that the image may run on, and for its user to read only: what lies there is run.
RUN ifcb-flow warm
USER 10001:10001
EXPOSE 3000 4000 8001 8501
ENTRYPOINT ["sh", "/opt/ifcb-flow/docker/entrypoint.sh"]
CMD ["python", "-m", "ifcb_flow_pipeline.defs.webserver", "-h", "0.0.0.0", "-p", "3000", "-w", "docker/workspace.yaml"]
