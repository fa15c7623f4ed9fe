"""The curves of a training."""

import json

import numpy as np
import pytest

from scnet.engine.report.history import POINTS, Series, read_history, thinned, with_last


def test_the_history_of_a_run(tmp_path):
    """Iterations that were trained again count once; half a last line is left out."""
    assert read_history(tmp_path) == {}
    lines = [
        {"iteration": 19, "total_loss": 5.0, "segm/AP": float("nan")},
        {"iteration": 39, "total_loss": 4.0},
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 20, "segm/AP": 1.5},
    ]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "metrics.json").write_text(text + '\n{"iteration": 59, "total_l')
    history = read_history(tmp_path)
    assert history.keys() == {"total_loss", "segm/AP"}
    assert history["total_loss"].iterations.tolist() == [19, 39]
    assert history["total_loss"].values.tolist() == [3.0, 4.0]
    history = with_last(history, 20, {"segm/AP": 2.5, "bbox/AP": 0.5, "segm/APl": float("nan")})
    assert history["segm/AP"].values.tolist() == [2.5]
    assert history["bbox/AP"].iterations.tolist() == [20] and "segm/APl" not in history
    (tmp_path / "metrics.json").write_text("half a l\n" + text)
    with pytest.raises(ValueError, match="Line 1 of '.*metrics.json' is no json"):
        read_history(tmp_path)


def test_long_curves_are_thinned():
    count = 10 * POINTS + 3
    series = Series(np.arange(count), np.linspace(0, 1, count))
    found = thinned(series)
    assert len(found.values) <= POINTS
    np.testing.assert_allclose(found.values, found.iterations / (count - 1))
    assert found.iterations[-1] > count - 1 - count / POINTS
    assert thinned(Series(*(x[:POINTS] for x in series))).values.shape == (POINTS,)
