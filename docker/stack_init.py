"""Before MLflow starts: make the buckets and bring its database to the schema of this image. Twice changes nothing."""

import os
import subprocess
import sys

import boto3
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


if __name__ == "__main__":
    for bucket in os.environ["BUCKETS"].split():
        print(make_bucket(bucket))
    upgrade = subprocess.run(["mlflow", "db", "upgrade", os.environ["MLFLOW_BACKEND_STORE_URI"]], check=False)
    if upgrade.returncode:  # an exception would print the address with its password
        sys.exit("MLflow's database could not be brought to the schema of this image; the reason stands above")
    print("MLflow's database has the schema of this image")
