#!/bin/sh
# Back up the stack's volumes below /volumes to /backup, or restore them: `volumes.sh backup`, `volumes.sh restore`.
set -eu
umask 077 # the database holds hashes of passwords

backup() {
  if [ -e /volumes/database/postmaster.pid ]; then
    echo "PostgreSQL is running or was killed; let it end well first: docker compose up --wait postgres && docker compose stop" >&2
    exit 78
  fi
  for volume in objects database; do
    # the store keeps checksums and types in extended attributes
    tar --create --xattrs --xattrs-include='user.*' --numeric-owner -C "/volumes/$volume" -f "/backup/$volume.tar.part" .
    mv "/backup/$volume.tar.part" "/backup/$volume.tar"
    echo "backed up: $volume"
  done
}

restore() {
  for volume in objects database; do
    if [ ! -s "/backup/$volume.tar" ]; then
      echo "BACKUP_FOLDER holds no $volume.tar; name the folder of a backup" >&2
      exit 65
    fi
    if [ -n "$(find "/volumes/$volume" -mindepth 1 -print -quit)" ]; then
      echo "the volume $volume is not empty; remove it first: docker compose down --volumes" >&2
      exit 65
    fi
  done
  for volume in objects database; do
    tar --extract --xattrs --xattrs-include='user.*' --numeric-owner --same-permissions -C "/volumes/$volume" \
      -f "/backup/$volume.tar"
    echo "restored: $volume"
  done
}

case "${1:-}" in
  backup | restore) "$1" ;;
  *) echo "usage: volumes.sh backup|restore" >&2 && exit 2 ;;
esac
