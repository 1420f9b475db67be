#!/bin/sh
# Puts the image's dagster.yaml into DAGSTER_HOME, where that is set, then becomes the command. Done at every start, so
# that a fresh volume has it and an old one gets the one that belongs to the image.
set -eu
# What the services write is theirs alone.
umask 077
mkdir -p "$XDG_CACHE_HOME" 2>/dev/null || true
# Started as another user, as a Prefect task does, there is no writing to the volume.
[ -w "$XDG_CACHE_HOME" ] || export XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/cache/matplotlib
if [ -n "${DAGSTER_HOME:-}" ]; then
    here=$(dirname "$0")
    mkdir -p "$DAGSTER_HOME"
    # Services start together: a file is moved into place whole, never seen half written.
    new=$(mktemp "$DAGSTER_HOME/.dagster.yaml.XXXXXX")
    cat "$here/dagster.yaml" >"$new"
    if [ -n "${IFCB_DAGSTER_DB:-}" ]; then
        cat "$here/postgres.yaml" >>"$new"
        # SQLAlchemy takes a plain "postgresql" for psycopg 3, which dagster-postgres cannot use.
        export IFCB_DAGSTER_DB="postgresql+psycopg2://${IFCB_DAGSTER_DB#*://}"
    fi
    secret=/run/secrets/postgres_password
    if [ -e "$secret" ]; then
        [ -r "$secret" ] || {
            echo "entrypoint.sh: user $(id -u) cannot read $secret: see DAGSTER_POSTGRES_PASSWORD_FILE" >&2
            exit 1
        }
        # As libpq wants it: in a file of its own, and never in the environment, which every program hands on.
        { printf '*:*:*:*:' && tr -d '\n' <"$secret" | sed 's/[\\:]/\\&/g'; } >/tmp/ifcb-flow-pgpass
    fi
    mv -f "$new" "$DAGSTER_HOME/dagster.yaml"
fi
exec "$@"
