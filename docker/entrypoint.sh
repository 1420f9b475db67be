#!/bin/sh
# Puts the image's dagster.yaml into DAGSTER_HOME, then becomes the command. Done at every start, so that a
# fresh volume has it and an old one gets the one that belongs to the image.
set -eu
# What the services write is theirs alone.
umask 077
mkdir -p "$DAGSTER_HOME"
# Services start together: a file is moved into place whole, never seen half written.
new=$(mktemp "$DAGSTER_HOME/.dagster.yaml.XXXXXX")
cat "$(dirname "$0")/dagster.yaml" >"$new"
mv -f "$new" "$DAGSTER_HOME/dagster.yaml"
exec "$@"
