"""Before MLflow starts: make the buckets and the database of searches, and bring MLflow's to the schema of this image.

Twice changes nothing.
"""

import os
import subprocess
import sys

import boto3
import sqlalchemy
from botocore.config import Config
from botocore.exceptions import ClientError

# a store that has just been started may not answer at once
STORE = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 8})


def make_bucket(name: str) -> str:
    """Make the bucket unless it is there and return what was done."""
    store = boto3.client("s3", config=STORE)
    try:
        store.head_bucket(Bucket=name)
        return f"bucket {name} is there"
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    region = store.meta.region_name
    if region == "us-east-1":  # AWS takes every other region as a constraint, but not its first
        store.create_bucket(Bucket=name)
    else:
        store.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    return f"bucket {name} made"


def make_search_database(address: str, password: str) -> str:
    """Make role and database `search` on the server of MLflow's database unless they are there; set the password."""
    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")  # CREATE DATABASE takes no transaction
    with engine.connect() as server:

        def is_there(query: str) -> bool:
            return server.execute(sqlalchemy.text(query)).first() is not None

        verb = "ALTER" if is_there("SELECT 1 FROM pg_roles WHERE rolname = 'search'") else "CREATE"
        quoted = password.replace("'", "''")
        server.exec_driver_sql(f"{verb} ROLE search LOGIN PASSWORD '{quoted}'".replace("%", "%%"))
        if is_there("SELECT 1 FROM pg_database WHERE datname = 'search'"):
            return "database search is there"
        server.execute(sqlalchemy.text("CREATE DATABASE search OWNER search"))
        return "database search made"


if __name__ == "__main__":
    for bucket in os.environ["BUCKETS"].split():
        print(make_bucket(bucket))
    upgrade = subprocess.run(["mlflow", "db", "upgrade", os.environ["MLFLOW_BACKEND_STORE_URI"]], check=False)
    if upgrade.returncode:  # an exception would print the address with its password
        sys.exit("MLflow's database could not be brought to the schema of this image; the reason stands above")
    print("MLflow's database has the schema of this image")
    if os.environ.get("SEARCH_PASSWORD"):
        print(make_search_database(os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["SEARCH_PASSWORD"]))
