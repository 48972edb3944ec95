# MLflow's server with all that it needs for PostgreSQL, S3 and basic auth: nothing is installed at start.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE}
COPY docker/requirements-mlflow.lock /tmp/
# Optional build secrets as in jobs.Dockerfile.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python3 -m venv /opt/mlflow \
 && /opt/mlflow/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --no-deps --require-hashes -r /tmp/requirements-mlflow.lock
ENV PATH=/opt/mlflow/bin:$PATH \
    HOME=/tmp \
    USER=mlflow \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true
COPY docker/stack_init.py docker/mlflow_server.sh docker/volumes.sh /app/
# A fresh named volume takes the owner of the folder that the first container shows it: compose lays /data over this one.
RUN mkdir /data && chown 10001:0 /data && chmod 0770 /data \
 && chmod -R a+rX /app
WORKDIR /tmp
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dogbreed mlflow" \
      org.opencontainers.image.description="MLflow server for PostgreSQL and S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:0
ENTRYPOINT ["/app/mlflow_server.sh"]
CMD ["--host", "0.0.0.0", "--port", "5000"]
