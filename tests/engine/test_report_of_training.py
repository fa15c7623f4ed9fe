"""A training renews its report at each evaluation, and is the same with it and without."""

import json
import logging
from pathlib import Path

import pytest
import torch

from scnet.data.datasets import shapes
from scnet.engine.report import write

pytestmark = pytest.mark.slow


@pytest.fixture
def train(make_trainer, environment, tmp_path):
    """train(KEY, value, ..., sets=1, output="run"): train with so many test sets; the trainer."""
    root = Path(environment["FVCORE_CACHE"], "scnet", f"shapes_v{shapes.VERSION}")
    content = (root / "annotations/instances_val.json").read_text()
    jsons = (tmp_path / "first.json", tmp_path / "second.json")
    for path in jsons:
        path.write_text(content)

    def train(*opts, sets=1, output="run"):
        data = ("DATASETS.TEST_JSON", tuple(map(str, jsons[:sets])))
        data += ("DATASETS.TEST_IMAGES", (str(root / "val"),) * sets)
        data += ("DATASETS.TRAIN_SEM_SEG", ())
        trainer = make_trainer(*data, *opts, output=output)
        trainer.train()
        return trainer

    return train


def weights(trainer):
    return {name: x.clone() for name, x in trainer.trained.state_dict().items()}


def test_each_evaluation_renews_the_report(train, tmp_path, monkeypatch):
    """And the training is the same, bit for bit, as without evaluation and report."""
    pages, histories = [], []
    render = write.render

    def keep(title, subtitle, results, history, *others):
        histories.append(history)
        pages.append(render(title, subtitle, results, history, *others))
        return pages[-1]

    monkeypatch.setattr(write, "render", keep)
    opts = ["TEST.REPORT", True, "TEST.LOSS", True, "TEST.EVAL_PERIOD", 2]
    trainer = train(*opts, sets=2)
    first, last = pages
    assert "After 2 of 4 iterations" in first and "After 4 of 4 iterations" in last
    assert last == (tmp_path / "run/report.html").read_text()
    # A section for each set, with its own numbers.
    results = json.loads((tmp_path / "run/inference/results.json").read_text())
    sections = last.split('<section class="set">')[1:]
    assert len(sections) == len(results) == 2
    for section, (name, metrics) in zip(sections, results.items()):
        assert f"Results on {name}" in section
        assert f"<tr><th>Masks</th><td>{metrics['segm']['AP']:.1f}</td>" in section
    # The curve of AP has this evaluation, which metrics.json has not yet, and the one before.
    # Iterations are those of metrics.json: counted from 0, and after the last step 4.
    for history, iterations in zip(histories, ([1], [1, 4])):
        assert history["validation_loss"].iterations.tolist() == iterations
        for name, metrics in results.items():
            assert history[f"{name}/segm/AP"].iterations.tolist() == iterations
            assert history[f"{name}/segm/AP"].values[-1] == pytest.approx(metrics["segm"]["AP"])
    assert 'aria-label="AP over iterations"' in first
    # How to make it again: the data of the training, too, the start of the run, the whole config.
    data = last[last.index('<section class="data">') :]
    assert "instances_train</th>" in data and "<td>8</td>" in data
    assert "from iteration 0: " in data and "MAX_ITER: 4" in data

    expected = weights(train(sets=0, output="without"))
    assert not (tmp_path / "without/report.html").exists()
    found = weights(trainer)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_report_that_fails_ends_nothing(train, tmp_path, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("no picture today")

    monkeypatch.setattr(write, "collect", fail)
    monkeypatch.setattr(logging.getLogger("scnet"), "propagate", True)
    train("TEST.REPORT", True)
    assert (tmp_path / "run/model_final.pth").exists()
    assert (tmp_path / "run/inference/results.json").exists()
    assert not (tmp_path / "run/report.html").exists()
    levels = {x.levelno for x in caplog.records if "could not be made" in x.message}
    assert levels == {logging.ERROR} and "no picture today" in caplog.text
