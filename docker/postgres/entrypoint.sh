#!/bin/sh
# Makes the cluster at the first start, with the database of init.sql in it; then becomes the server. Arguments go to postgres.
# A first start that was cut short begins anew: the cluster gets its name when it is whole.
set -eu

if [ ! -e "$PGDATA" ]; then
    : "${TOPK_INGEST_PASSWORD:?must be set at the first start}" "${TOPK_READ_PASSWORD:?must be set at the first start}"
    new=$PGDATA.new
    rm -rf "$new"
    initdb --pgdata="$new" --username=postgres --auth=peer --encoding=UTF8 --locale=C.UTF-8 --data-checksums --no-instructions
    echo "include_dir = '/etc/topk/conf.d'" >>"$new/postgresql.conf"
    # no TCP yet: nobody is served from a database that is not finished
    pg_ctl start --pgdata="$new" --wait --silent --options="-c listen_addresses=''"
    if ! psql --no-psqlrc --quiet --username=postgres --dbname=postgres --file=/etc/topk/init.sql; then
        pg_ctl stop --pgdata="$new" --mode=immediate --silent
        exit 1
    fi
    pg_ctl stop --pgdata="$new" --mode=fast --wait --silent
    mv "$new" "$PGDATA"
fi
unset TOPK_INGEST_PASSWORD TOPK_READ_PASSWORD
exec postgres "$@"
