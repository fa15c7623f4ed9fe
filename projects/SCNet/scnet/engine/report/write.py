"""Writing ``report.html``: of the evaluations of a run, or of a file of results."""

import logging
import os
import shlex
import sys
from typing import Any, Dict, List, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.events import get_event_storage, has_event_storage

from ...config import get_cfg
from ...data.own_data import register_datasets
from ...overwrite import refuse_impossible_outputs, refuse_to_replace
from ...whole_files import write_whole
from ..evaluation.coco_evaluator import SCNetCOCOEvaluator
from ..json_lines import read_lines
from ..provenance import NAME as RUNS
from ..provenance import versions
from ..validation_loss import NAME as VALIDATION_LOSS
from .collect import TITLES, DataSet, collect
from .history import read_history, with_last
from .page import render
from .results_file import evaluate_file
from .statistics import statistics

NAME = "report.html"

logger = logging.getLogger(__name__)


def report_evaluation(
    cfg: CfgNode, evaluators: Sequence[Any], metrics: Dict[str, Dict[str, Any]], folder: str
) -> None:
    """Write the report of an evaluation, during a training or without one.

    What goes wrong is in the log with its traceback, and ends nothing: the numbers are in the
    results already, and a training is worth more than its report.

    Args:
        cfg: of the model.
        evaluators: that have evaluated; other than ours have no part in the report.
        metrics: data set -> what its evaluator returned.
        folder: gets ``report.html``, in place of one that is there.
    """
    path = os.path.join(folder, NAME)
    try:
        results = [
            collect(name, evaluator, metrics[name], cfg)
            for name, evaluator in zip(metrics, evaluators)
            if isinstance(evaluator, SCNetCOCOEvaluator) and TITLES.keys() & metrics[name].keys()
        ]
        if not results:
            return
        write_whole(path, _page_of_run(cfg, results, metrics).encode())
    except Exception:  # any, see above
        logger.exception(f"The report '{path}' could not be made. Nothing else is lost.")
    else:
        logger.info(f"Report: {path}")


def _page_of_run(cfg: CfgNode, results: List[DataSet], metrics: Dict[str, Dict[str, Any]]) -> str:
    """Make the page of an evaluation; in a training it has the curves so far."""
    history = read_history(cfg.OUTPUT_DIR)
    sets, subtitle = cfg.DATASETS.TEST, f"The model of {cfg.MODEL.WEIGHTS or cfg.OUTPUT_DIR}."
    if has_event_storage():  # it is a training
        storage = get_event_storage()
        iteration = storage.iter
        flat = flatten_results_dict(metrics if len(metrics) > 1 else next(iter(metrics.values())))
        value, when = storage.latest().get(VALIDATION_LOSS, (0.0, None))
        if when == iteration:
            flat[VALIDATION_LOSS] = value
        history = with_last(history, iteration, flat)
        sets = (*cfg.DATASETS.TRAIN, *sets)
        done = min(iteration + 1, cfg.SOLVER.MAX_ITER)  # after the last step it is that number
        subtitle = f"After {done} of {cfg.SOLVER.MAX_ITER} iterations."
    title = f"Report on {os.path.basename(os.path.abspath(cfg.OUTPUT_DIR))}"
    origin = [*_this_command(), *_runs(cfg.OUTPUT_DIR)]
    return render(title, subtitle, results, history, statistics(sets), origin, cfg.dump())


def report_results(
    annotations: str, images: str, results: str, output: str, overwrite: bool = False
) -> Dict[str, Dict[str, float]]:
    """Evaluate detections of any program from a file, and write the report.

    Args:
        annotations: a COCO json.
        images: the folder of its images.
        results: detections in COCO's result format, with the ids of ``annotations``.
        output: the html file to write.
        overwrite: replace it if it exists.

    Returns:
        the metrics, as :class:`SCNetCOCOEvaluator` returns them.

    Raises:
        FileExistsError: ``output`` exists, and ``overwrite`` is False.
        OSError: a file is missing, or ``output`` cannot be written.
        ValueError: see :func:`evaluate_file`.
    """
    refuse_impossible_outputs([output], [annotations, results])
    if not overwrite:
        refuse_to_replace([output])
    cfg = get_cfg()
    cfg.DATASETS.TEST_JSON, cfg.DATASETS.TEST_IMAGES = (annotations,), (images,)
    register_datasets(cfg, ("TEST",))
    evaluator, metrics = evaluate_file(cfg, results)
    [name] = cfg.DATASETS.TEST
    found = collect(name, evaluator, metrics, cfg)
    title, subtitle = f"Report on {os.path.basename(results)}", f"The detections of {results}."
    origin = [*_this_command(), ("Annotations", annotations), ("Images", images)]
    page = render(title, subtitle, [found], {}, statistics([name]), origin)
    write_whole(output, page.encode())
    return metrics


def _this_command() -> List[Tuple[str, str]]:
    numbers = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [("Command", shlex.join(sys.argv)), ("Versions", numbers)]


def _runs(folder: str) -> List[Tuple[str, str]]:
    """The starts of the training in a folder, as its ``runs.jsonl`` has them."""
    found = []
    for x in read_lines(os.path.join(folder, RUNS)):
        git = x["git"]
        commit = f"; commit {git['commit']}{' with changes' * bool(git['changes'])}" if git else ""
        text = f"{x['time']}, from iteration {x['first_step']}: {shlex.join(x['command'])}{commit}"
        found.append(("Training", text))
    return found
