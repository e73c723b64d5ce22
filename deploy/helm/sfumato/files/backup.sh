#!/bin/sh
# Write a snapshot of the whole of Redis, as a replica would receive it, and keep the newest few.
# Where the disk is full the oldest go, but never the last good one. One run at a time.
# CLI redis-cli or valkey-cli, SFUMATO_REDIS_URL, BACKUP_DIR, KEEP; SFUMATO_REDIS_*_FILE for TLS.
set -eu
file="$BACKUP_DIR/sfumato-$(date -u +%Y%m%dT%H%M%SZ).rdb"
part="$file.part"
set -- -u "$SFUMATO_REDIS_URL" --no-auth-warning
[ -z "${SFUMATO_REDIS_CA_FILE:-}" ] || set -- "$@" --cacert "$SFUMATO_REDIS_CA_FILE"
[ -z "${SFUMATO_REDIS_CERT_FILE:-}" ] || set -- "$@" --cert "$SFUMATO_REDIS_CERT_FILE" --key "$SFUMATO_REDIS_KEY_FILE"

# The names sort by time.
backups() { find "$BACKUP_DIR" -name 'sfumato-*.rdb' | sort -r; }
keep_newest() {
    backups | tail -n "+$(($1 + 1))" | while read -r old; do
        rm -f "$old"
        echo "removed $old"
    done
}
complain() { echo "$*" >&2; exit 1; }

# A run that was killed left its part.
find "$BACKUP_DIR" -name 'sfumato-*.rdb.part' -exec rm -f {} +
keep_newest "$((KEEP > 1 ? KEEP - 1 : 1))"  # so that KEEP of them is all that there ever is
trap 'rm -f "$part"' EXIT
until said=$("$CLI" "$@" --rdb "$part" 2>&1); do
    echo "$said" >&2
    rm -f "$part"
    case $said in
    *"Error writing data"* | *"No space left"* | *"uota exceeded"*) ;;
    *) complain "no snapshot came; what was there is kept" ;;
    esac
    count=$(backups | wc -l)
    [ "$count" -gt 0 ] || complain "$BACKUP_DIR has no room for one snapshot: make it larger"
    last=$(backups | head -n 1)
    [ "$count" -gt 1 ] || complain "$BACKUP_DIR has no room for a snapshot beside the last good one," \
        "$last of $(wc -c <"$last") bytes, which is kept: make it larger"
    echo "$BACKUP_DIR is full"
    keep_newest "$((count - 1))"
done
[ "$(head -c 5 "$part")" = REDIS ] || [ "$(head -c 6 "$part")" = VALKEY ] || complain "what came is no snapshot"
mv "$part" "$file"
echo "wrote $file, $(wc -c <"$file") bytes"
keep_newest "$KEEP"
