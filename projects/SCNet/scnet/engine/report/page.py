"""The page: its curves, and the template that they are filled into."""

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import jinja2
import numpy as np
from markupsafe import Markup

from ..validation_loss import NAME as VALIDATION_LOSS
from .collect import DataSet, Task
from .figures import COLORS, Line, draw_lines
from .history import Series, names_of_losses, thinned
from .measures import RECALLS, mean_f1, mean_precision
from .statistics import Statistics, rows_of_classes, rows_of_data

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "ARs", "ARm", "ARl")

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(
    title: str,
    subtitle: str,
    results: Sequence[DataSet],
    history: Dict[str, Series],
    data: Sequence[Statistics],
    origin: Sequence[Tuple[str, str]],
    config: str = "",
) -> str:
    """Make the page.

    Args:
        title, subtitle: what the report is of.
        results: of the data sets that were evaluated on.
        history: of the training; empty if there was none.
        data: what the data sets hold.
        origin: names and texts of what it takes to make the numbers again.
        config: the whole config as text.

    Returns:
        html, in which all names are text and nothing is fetched.
    """
    return _templates.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        results=results,
        metrics=METRICS,
        nan=np.nan,
        precision_recall=precision_recall,
        f1_score=f1_score,
        training=draw_training(history),
        data=data,
        rows_of_data=rows_of_data,
        rows_of_classes=rows_of_classes,
        origin=origin,
        config=config,
    )


def precision_recall(task: Task) -> Markup:
    """Draw precision over recall, of the classes and of their mean."""
    lines = [Line(x.name, x.curve.recall, x.curve.precision) for x in task.classes]
    mean = Line("mean", RECALLS, mean_precision(task.classes), "strong")
    title = f"{task.title}: precision over recall"
    unit = (0.0, 1.02)
    return draw_lines(
        _with_mean(lines, mean), x="recall", y="precision", title=title, x_range=unit, y_range=unit
    )


def f1_score(task: Task) -> Markup:
    """Draw F1 over the threshold of the score, of the classes and of their mean."""
    thresholds, mean_of = mean_f1(task.classes)
    lines = [Line(x.name, thresholds, x.curve.f1_at(thresholds)) for x in task.classes]
    best = int(mean_of.argmax()) if len(mean_of) else None
    mean = Line("mean", thresholds, mean_of, "strong", best)
    title = f"{task.title}: F1 over the threshold"
    return draw_lines(
        _with_mean(lines, mean), x="lowest score", y="F1", title=title, y_range=(0, 1.02)
    )


def _with_mean(lines: List[Line], mean: Line) -> List[Line]:
    """Add the mean; of many classes, the curves have no colours and no names."""
    if len(lines) == 1:
        return [mean._replace(name=lines[0].name)]
    if len(lines) > len(COLORS):
        lines = [line._replace(name="", kind="faint") for line in lines]
    return [*lines, mean]


def draw_training(history: Dict[str, Series]) -> List[Tuple[Markup, str]]:
    """Draw the curves of a training, each with a sentence on it."""

    def line(key: str, name: str, kind: str = "plain") -> Line:
        return Line(name, *thinned(history[key]), kind)

    losses = [line(x, x) for x in names_of_losses(history)]
    totals = [
        line(key, name, kind)
        for key, name, kind in (
            (VALIDATION_LOSS, "validation", "plain"),
            ("total_loss", "training", "strong"),
        )
        if key in history
    ]
    ap = [line(key, key) for key in sorted(history) if key.endswith("/AP")]
    rates = [line("lr", "", "strong")] if "lr" in history else []
    drawn = []
    for lines, y, text, log in (
        (
            totals,
            "loss",
            "The sum of all losses. If the validation loss rises while that of the training "
            "falls, the model learns the training images by heart."
            if VALIDATION_LOSS in history
            else "The sum of all losses. With TEST.LOSS True there is the loss on the validation "
            "data, too.",
            False,
        ),
        (ap, "AP", "The results on the validation data, in percent.", False),
        (losses, "loss", "The parts of the loss, as they are added up.", True),
        (rates, "learning rate", "The learning rate of each iteration.", False),
    ):
        if lines:
            title = f"{y} over iterations"
            drawn.append((draw_lines(lines, x="iteration", y=y, title=title, log=log), text))
    return drawn
