#!/bin/sh
# Writes requirements.lock (what the image installs) and requirements-dev.lock (that and the development
# tools) from pyproject.toml. Versions already locked are kept; options go to pip-compile:
#   docker/lock.sh --upgrade                    everything to the newest version
#   docker/lock.sh --upgrade-package streamlit  one package
set -eu
cd "$(dirname "$0")/.."

# The oldest Python that the project supports: what is chosen for it also installs on newer ones.
python=${PYTHON:-python3.11}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "lock.sh: $python is not Python 3.11; name one in PYTHON" >&2
    exit 1
}

# Only the public index counts, whatever this machine is set to: others could not install the result.
unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_CONSTRAINT
export PIP_CONFIG_FILE=/dev/null

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/pip" install --quiet pip==26.3 pip-tools==7.6.2

# The build backend is locked as well (--all-build-deps), so that the project is built without a download.
lock() {
    CUSTOM_COMPILE_COMMAND=docker/lock.sh "$tools/bin/pip-compile" --quiet \
        --generate-hashes --all-build-deps --allow-unsafe --no-strip-extras \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        --annotation-style line "$@" pyproject.toml
}
lock --extra postgres --output-file requirements.lock "$@"
lock --extra postgres --extra dev --constraint requirements.lock --output-file requirements-dev.lock "$@"
