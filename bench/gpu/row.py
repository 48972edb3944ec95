"""One row of `python -m bench.gpu`, as a process of its own.

`python -m bench.gpu.row MODULE.FUNCTION JSON` calls the function with the JSON's values and prints what it returns as
JSON; the exit codes are those of the jobs.
"""

import importlib
import json
import logging
import sys

from dogbreed.core.errors import DogbreedError


def main(task: str, arguments: str) -> None:
    """Call the function and print its result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    module, _, function = task.partition(".")
    try:
        print(json.dumps(getattr(importlib.import_module(f"bench.gpu.{module}"), function)(**json.loads(arguments))))
    except DogbreedError as error:
        logging.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
