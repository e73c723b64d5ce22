#!/bin/sh
# Write a snapshot of the whole of Redis, as a replica would receive it, and keep the newest few.
# CLI redis-cli or valkey-cli, SFUMATO_REDIS_URL, BACKUP_DIR, KEEP; SFUMATO_REDIS_*_FILE for TLS.
set -eu
file="$BACKUP_DIR/sfumato-$(date -u +%Y%m%dT%H%M%SZ).rdb"
set -- -u "$SFUMATO_REDIS_URL" --no-auth-warning
[ -z "${SFUMATO_REDIS_CA_FILE:-}" ] || set -- "$@" --cacert "$SFUMATO_REDIS_CA_FILE"
[ -z "${SFUMATO_REDIS_CERT_FILE:-}" ] || set -- "$@" --cert "$SFUMATO_REDIS_CERT_FILE" --key "$SFUMATO_REDIS_KEY_FILE"
trap 'rm -f "$file.part"' EXIT
"$CLI" "$@" --rdb "$file.part"
[ "$(head -c 5 "$file.part")" = REDIS ] || [ "$(head -c 6 "$file.part")" = VALKEY ] || {
    echo "what came is no snapshot" >&2
    exit 1
}
mv "$file.part" "$file"
echo "wrote $file, $(wc -c <"$file") bytes"
# The names sort by time.
find "$BACKUP_DIR" -name 'sfumato-*.rdb' | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
    rm -f "$old"
    echo "removed $old"
done
