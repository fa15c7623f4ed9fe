"""The drawings of the page."""

import re

import numpy as np
import pytest

from scnet.engine.report.figures import Line, draw_lines


@pytest.mark.parametrize("log", [False, True])
def test_the_axes_follow_the_curves(log):
    """A curve spans its drawing, and the numbers at the axes are those of the curve, as text."""
    line = Line("loss", np.array([19, 119, 299]), np.array([40.0, 0.02, 0.3]), "strong")
    drawing = draw_lines([line], x="iteration", y="loss", title="loss", log=log)
    _, _, width, height = map(float, re.search(r'viewBox="([^"]*)"', drawing)[1].split())
    paths = re.findall(r'<path d="([^"]*)"', drawing)
    points = [re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path) for path in paths]
    curve = max((np.array(x, float) for x in points if len(x) == 3), key=lambda x: np.ptp(x[:, 0]))
    assert np.ptp(curve[:, 0]) > 0.7 * width and np.ptp(curve[:, 1]) > 0.5 * height
    assert (curve > 0).all() and (curve < [width, height]).all()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    expected = {"200", "0.1", "10"} if log else {"200", "40"}
    assert expected <= set(texts) and not [x for x in texts if "$" in x]


def test_ranges_that_are_given():
    line = Line("", np.array([0.2, 0.4]), np.array([0.1, 0.3]))
    unit = {"x_range": (0, 1), "y_range": (0, 1)}
    texts = re.findall(
        r"<text[^>]*>([^<]*)</text>", draw_lines([line], x="", y="", title="", **unit)
    )
    assert texts.count("1.0") == 2
