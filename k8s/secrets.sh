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

value() { sed -n "s/^$2=//p" "$1"; }  # value FILE NAME

# What the jobs get.
write base/store.secret AWS_ACCESS_KEY_ID=dogbreed "AWS_SECRET_ACCESS_KEY=$(random)"
write base/mlflow.secret MLFLOW_TRACKING_USERNAME=admin "MLFLOW_TRACKING_PASSWORD=$(random)"

# One file for each role of a server. The store and MLflow start with one user each, their administrator, so these
# repeat the values of the jobs; other users of your own go into the two files above.
write stack/store-admin.secret \
  "ROOT_ACCESS_KEY=$(value base/store.secret AWS_ACCESS_KEY_ID)" \
  "ROOT_SECRET_KEY=$(value base/store.secret AWS_SECRET_ACCESS_KEY)"
write stack/mlflow-admin.secret \
  "MLFLOW_AUTH_ADMIN_USERNAME=$(value base/mlflow.secret MLFLOW_TRACKING_USERNAME)" \
  "MLFLOW_AUTH_ADMIN_PASSWORD=$(value base/mlflow.secret MLFLOW_TRACKING_PASSWORD)"
write stack/mlflow-server.secret \
  "AWS_ACCESS_KEY_ID=$(value base/store.secret AWS_ACCESS_KEY_ID)" \
  "AWS_SECRET_ACCESS_KEY=$(value base/store.secret AWS_SECRET_ACCESS_KEY)" \
  "MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)"
write stack/database.secret "POSTGRES_PASSWORD=$(random)"

# The database of searches: the password that its role gets, and what the jobs connect to.
write stack/search-database.secret "SEARCH_PASSWORD=$(random)"
write stack/search.secret \
  "DOGBREED_SEARCH_STORAGE=postgresql://search:$(value stack/search-database.secret SEARCH_PASSWORD)@postgres/search"
write components/backup/target.secret AWS_ACCESS_KEY_ID= AWS_SECRET_ACCESS_KEY=  # keys of the other store, for you to fill in
write overlays/aws/search.secret DOGBREED_SEARCH_STORAGE=  # of searches, for you to fill in
