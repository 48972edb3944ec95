# An MLflow of a year ago, for the test of the database migration.
FROM python:3.11-slim-bookworm
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python -m venv /opt/mlflow \
 && /opt/mlflow/bin/pip install --no-cache-dir mlflow==3.1.4 'sqlalchemy<2.1' psycopg2-binary==2.9.10
ENTRYPOINT ["/opt/mlflow/bin/python", "-c"]
