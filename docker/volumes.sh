#!/usr/bin/env bash
# Back up and restore the volumes of a stopped stack: `docker/volumes.sh backup FOLDER`, `docker/volumes.sh restore FOLDER`.
set -euo pipefail
docker=${DOCKER:-docker}
project=${COMPOSE_PROJECT_NAME:-dogbreed}
image=dogbreed/mlflow:${DOGBREED_VERSION:-0.1.0}

inside() {  # inside VOLUME COMMAND: run a shell command with the volume at /data and the backup folder at /backup
  "$docker" run --rm --network none --user 0 --entrypoint sh -v "${project}_$1:/data" -v "$folder:/backup" "$image" -ec "$2"
}

if [ $# -ne 2 ] || { [ "$1" != backup ] && [ "$1" != restore ]; }; then
  echo "usage: $0 backup|restore FOLDER" >&2
  exit 2
fi
mkdir -p "$2"
folder=$(cd "$2" && pwd)
if [ -n "$("$docker" ps --quiet --filter "label=com.docker.compose.project=$project")" ]; then
  echo "the stack is running; stop it first: docker compose stop" >&2
  exit 78
fi
for volume in objects database; do
  if [ "$1" = backup ]; then
    if ! "$docker" volume inspect "${project}_$volume" >/dev/null 2>&1; then
      echo "there is no volume ${project}_$volume; set COMPOSE_PROJECT_NAME to the stack's name" >&2
      exit 2
    fi
    # the store keeps checksums and types in extended attributes
    inside "$volume" "tar --create --xattrs --xattrs-include='user.*' --numeric-owner -C /data -f /backup/$volume.tar.part . \
      && mv /backup/$volume.tar.part /backup/$volume.tar"
  else
    if [ ! -s "$folder/$volume.tar" ]; then
      echo "$folder holds no $volume.tar; name the folder of a backup" >&2
      exit 65
    fi
    # labels, so that compose takes the volume for its own
    "$docker" volume create --label "com.docker.compose.project=$project" --label "com.docker.compose.volume=$volume" \
      "${project}_$volume" >/dev/null
    inside "$volume" "if [ -n \"\$(find /data -mindepth 1 -print -quit)\" ]; then
        echo 'the volume ${project}_$volume is not empty; remove it first: docker compose down --volumes' >&2; exit 65; fi
      tar --extract --xattrs --xattrs-include='user.*' --numeric-owner --same-permissions -C /data -f /backup/$volume.tar"
  fi
  echo "$1: $volume"
done
