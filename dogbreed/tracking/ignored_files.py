"""Files that a job ignores, in its MLflow run: their number, and a table of reasons with examples."""

import pandas as pd

from dogbreed.data.raw.census import Ignored
from dogbreed.tracking.runs import Run


def log_ignored(run: Run, ignored: Ignored) -> None:
    """Log the metric `ignored` and tables/ignored.csv with the columns reason, files, examples.

    If there are tables of labels with rows that are not used, also tables/ignored_rows.csv with reason and file.
    """
    files = [(reason, found["files"], ", ".join(found["examples"])) for reason, found in ignored.summary().items()]
    run.log_metrics(0, {"ignored": float(len(ignored))})
    run.log_text("tables/ignored.csv", pd.DataFrame(files, columns=["reason", "files", "examples"]).to_csv(index=False))
    rows = [(reason, file) for reason, names in ignored.rows.items() for file in names]
    if rows:
        run.log_metrics(0, {"ignored_rows": float(len(rows))})
        run.log_text("tables/ignored_rows.csv", pd.DataFrame(rows, columns=["reason", "file"]).to_csv(index=False))
