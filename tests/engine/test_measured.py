"""Which evaluation of a training belongs to which step, and when a training is at its end."""

import json

import pytest

from scnet.engine.measured import evaluations, is_finished


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        text = "".join(json.dumps(x) + "\n" for x in lines)
        (tmp_path / "metrics.json").write_text(text)

    return write


def test_the_end_of_a_training(write, tmp_path):
    """It is there with the last weights and their evaluation, whatever the config says."""
    run = str(tmp_path)
    assert not is_finished(run)
    half = {"iteration": 3, "total_loss": 2.0, "segm/AP": 10.0, "segm/AP-cat": 5.0, "x/y": 1.0}
    step, end = {"iteration": 7, "total_loss": 1.0}, {"iteration": 8, "segm/AP": 20.0}
    write(half)  # killed after an evaluation
    assert not is_finished(run)
    write(half, step)
    (tmp_path / "model_final.pth").write_text("weights")
    assert not is_finished(run)
    write(half, step, end)
    assert is_finished(run)
    assert evaluations(run) == (
        {4: {"segm/AP": 10.0, "segm/AP-cat": 5.0}, 8: {"segm/AP": 20.0}},
        8,
    )
    (tmp_path / "model_final.pth").unlink()
    assert not is_finished(run)
