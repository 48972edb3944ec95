"""Files that a job ignores, in its MLflow run: their number, and a table of reasons with examples."""

import pandas as pd

from dogbreed.data.raw.census import Ignored
from dogbreed.tracking.runs import Run


def log_ignored(run: Run, ignored: Ignored) -> None:
    """Log the metric `ignored` and tables/ignored.csv with the columns reason, files, examples."""
    rows = [(reason, found["files"], ", ".join(found["examples"])) for reason, found in ignored.summary().items()]
    run.log_metrics(0, {"ignored": float(len(ignored))})
    run.log_text("tables/ignored.csv", pd.DataFrame(rows, columns=["reason", "files", "examples"]).to_csv(index=False))
