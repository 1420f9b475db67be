#!/bin/sh
# Prints the base images by digest, as lines for .env: what is built and started then is what was looked at now.
#   docker/digests.sh >>.env
set -eu
cd "$(dirname "$0")/.."
for line in \
    "PYTHON_IMAGE $(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)" \
    "POSTGRES_IMAGE $(sed -n 's/.*POSTGRES_IMAGE:-\([^}]*\)}.*/\1/p' compose.postgres.yaml)"; do
    name=${line%% *} image=${line#* }
    printf '%s=%s@%s\n' "$name" "$image" "$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')"
done
