#!/bin/sh
# Convert a snapshot to the append-only files that Redis starts from: restore.sh SNAPSHOT DATA_DIR.
# Redis must not be running. The previous files are moved aside. A mark in DATA_DIR makes a second call
# with the same snapshot do nothing. SERVER and CLI name Redis' programs.
set -eu
snapshot=$1 data=$2
mark="$data/restored-from-$(basename "$snapshot")"
if [ -e "$mark" ]; then
    echo "$snapshot has been restored already; nothing to do"
    exit 0
fi
[ -r "$snapshot" ] || { echo "$snapshot does not exist" >&2; exit 1; }
aside="$data/before-$(date -u +%Y%m%dT%H%M%SZ)"
work="$data/restoring"
rm -rf "$work"
mkdir -p "$work"
cp "$snapshot" "$work/dump.rdb"
socket="$work/s"
"$SERVER" --port 0 --unixsocket "$socket" --dir "$work" --dbfilename dump.rdb --appendonly no --save '' &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
ask() { "$CLI" -s "$socket" "$@"; }
tries=0
until [ "$(ask ping 2>/dev/null)" = PONG ]; do
    kill -0 "$server" || { echo "the snapshot cannot be loaded" >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt "${RESTORE_LIMIT_S:-600}" ] || { echo "loading takes too long" >&2; exit 1; }
    sleep 1
done
ask config set appendonly yes >/dev/null
until ask info persistence | tr -d '\r' | grep -q '^aof_rewrite_in_progress:0' &&
    ask info persistence | tr -d '\r' | grep -q '^aof_rewrite_scheduled:0'; do
    sleep 1
done
ask info persistence | tr -d '\r' | grep -q '^aof_last_bgrewrite_status:ok' || {
    echo "the append-only file could not be written" >&2
    exit 1
}
keys=$(ask dbsize)
ask shutdown nosave 2>/dev/null || true
wait "$server" || true
mkdir -p "$aside"
[ ! -e "$data/appendonlydir" ] || mv "$data/appendonlydir" "$aside/"
mv "$work/appendonlydir" "$data/"
rm -rf "$work"
rmdir "$aside" 2>/dev/null || true
touch "$mark"
echo "restored $keys keys from $snapshot"
