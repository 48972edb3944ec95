#!/bin/sh
# Write random credentials into files that git ignores and kustomize reads; what is there stays as it is.
set -eu
cd "$(dirname "$0")"
umask 077

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

write() {  # write FILE LINE...
  file=$1
  shift
  if [ -e "$file" ]; then
    echo "k8s/$file is there"
  else
    printf '%s\n' "$@" > "$file"
    echo "k8s/$file written"
  fi
}

write base/store.secret AWS_ACCESS_KEY_ID=dogbreed "AWS_SECRET_ACCESS_KEY=$(random)"
write base/mlflow.secret MLFLOW_TRACKING_USERNAME=admin "MLFLOW_TRACKING_PASSWORD=$(random)"
write stack/servers.secret "POSTGRES_PASSWORD=$(random)" "MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)"
