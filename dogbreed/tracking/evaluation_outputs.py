"""What an evaluation logs to its run: metrics, tables, figures, the description and the report."""

import logging

from dogbreed.evaluation import report
from dogbreed.evaluation.figures.evaluation import draw_figures
from dogbreed.evaluation.figures.style import rasterize
from dogbreed.evaluation.result import EvalResult, EvalTarget, TrainingLineage
from dogbreed.tracking import runs
from dogbreed.tracking.runs import Run

log = logging.getLogger(__name__)


def log_evaluation(run: Run, target: EvalTarget, found: EvalResult, trained: TrainingLineage | None) -> None:
    """Log metrics, tables, figures, the description and the report to the active run."""
    split = target.split
    for problem in (found.predictions.missing_classes(split), found.describe_baseline()):
        if problem:
            log.warning("%s", problem)
    scores = {f"{split}_{name}": value for name, value in found.to_metrics()}
    run.log_metrics(0, {**scores, "images_per_second": found.images_per_second})
    for name, table in found.to_tables().items():
        run.log_text(f"tables/{name}_{split}.csv", table.to_csv(index=False))
    data_uris = {}
    for name, figure in draw_figures(target, found):
        image = rasterize(figure)
        run.log_figure(f"{name}_{split}", image)
        data_uris[name] = report.to_data_uri(image)
    runs.set_note(report.note(found, split, trained))
    run.log_text("report.html", report.render(run.id, target, found, trained, data_uris))
    log.info("report, figures and tables: %s", run.artifact_uri)
