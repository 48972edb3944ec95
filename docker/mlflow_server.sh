#!/bin/sh
# Start MLflow's server; with MLFLOW_BASIC_AUTH=true it asks for a user and a password.
set -eu
if [ "${MLFLOW_BASIC_AUTH:-false}" = true ]; then
  # users live in the tracking database; MLflow reads that address from a file only
  umask 077
  printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = %s\n' "$MLFLOW_BACKEND_STORE_URI" > /tmp/auth.ini
  export MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini
  set -- "$@" --app-name basic-auth
fi
exec mlflow server "$@"
