#!/bin/sh
# Write a snapshot of Redis, as a replica receives it, and keep the newest KEEP. If the disk is full,
# delete the oldest, but never the last good one. Run one at a time. Reads CLI (redis-cli or
# valkey-cli), SFUMATO_REDIS_URL, BACKUP_DIR, KEEP, and SFUMATO_REDIS_*_FILE for TLS.
set -eu
file="$BACKUP_DIR/sfumato-$(date -u +%Y%m%dT%H%M%SZ).rdb"
part="$file.part"
set -- -u "$SFUMATO_REDIS_URL" --no-auth-warning
[ -z "${SFUMATO_REDIS_CA_FILE:-}" ] || set -- "$@" --cacert "$SFUMATO_REDIS_CA_FILE"
[ -z "${SFUMATO_REDIS_CERT_FILE:-}" ] || set -- "$@" --cert "$SFUMATO_REDIS_CERT_FILE" --key "$SFUMATO_REDIS_KEY_FILE"

# Names sort by time.
backups() { find "$BACKUP_DIR" -name 'sfumato-*.rdb' | sort -r; }
keep_newest() {
    backups | tail -n "+$(($1 + 1))" | while read -r old; do
        rm -f "$old"
        echo "removed $old"
    done
}
fail() { echo "$*" >&2; exit 1; }

# Left by a run that was killed.
find "$BACKUP_DIR" -name 'sfumato-*.rdb.part' -exec rm -f {} +
keep_newest "$((KEEP > 1 ? KEEP - 1 : 1))"  # never more than KEEP on disk
trap 'rm -f "$part"' EXIT
until output=$("$CLI" "$@" --rdb "$part" 2>&1); do
    echo "$output" >&2
    rm -f "$part"
    case $output in
    *"Error writing data"* | *"No space left"* | *"uota exceeded"*) ;;
    *) fail "no snapshot was received; earlier ones are kept" ;;
    esac
    count=$(backups | wc -l)
    [ "$count" -gt 0 ] || fail "$BACKUP_DIR has no room for one snapshot: make it larger"
    last=$(backups | head -n 1)
    [ "$count" -gt 1 ] || fail "$BACKUP_DIR has no room for a snapshot beside the last good one," \
        "$last of $(wc -c <"$last") bytes, which is kept: make it larger"
    echo "$BACKUP_DIR is full"
    keep_newest "$((count - 1))"
done
[ "$(head -c 5 "$part")" = REDIS ] || [ "$(head -c 6 "$part")" = VALKEY ] || fail "the data received is not a snapshot"
mv "$part" "$file"
echo "wrote $file, $(wc -c <"$file") bytes"
keep_newest "$KEEP"
