"""The best weights are kept, and training in vain ends."""

import pytest
import torch
from detectron2.engine import TrainerBase
from detectron2.engine.hooks import PeriodicCheckpointer
from torch import nn

from scnet.checkpoint import SCNetCheckpointer
from scnet.engine.hooks.best_checkpoint import EvalAndKeepBest
from scnet.engine.hooks.stop import StopTraining


class Toy(TrainerBase):
    """Its weight is the number of steps done; its AP after each step is given."""

    def __init__(
        self, folder, values, period=1, patience=0, resume=False, die_at=None, metric="segm/AP"
    ):
        super().__init__()
        self.model, self.evaluations = nn.Linear(1, 1), []
        self.values, self.die_at = values, die_at
        checkpointer = SCNetCheckpointer(self.model, str(folder), trainer=self)
        self.register_hooks(
            [
                PeriodicCheckpointer(checkpointer, period),
                EvalAndKeepBest(
                    period, self.evaluate, checkpointer, metric=metric, patience=patience
                ),
            ]
        )
        checkpointer.resume_or_load("", resume=resume)
        self.start = self.iter + 1 if resume else 0

    def run_step(self):
        nn.init.constant_(self.model.weight, self.iter + 1)

    def evaluate(self):
        steps = int(self.model.weight)
        if steps == self.die_at:
            raise KeyboardInterrupt  # as good as a power cut, between checkpoint and evaluation
        self.evaluations.append(steps)
        return {"segm": {"AP": self.values[steps - 1]}, "bbox": {"AP": 50 - self.values[steps - 1]}}

    def train(self):
        super().train(self.start, len(self.values))
        return self


def weight(path):
    return torch.load(path, weights_only=True)["model"]["weight"].item()


def test_the_best_is_kept(tmp_path):
    toy = Toy(tmp_path, [1.0, 3.0, 2.0, float("nan"), 3.0]).train()
    assert toy.evaluations == [1, 2, 3, 4, 5]
    assert weight(tmp_path / "model_best.pth") == 2


def test_nothing_better_in_time_ends_it(tmp_path):
    toy = Toy(tmp_path, [1.0, 3.0, 2.0, 2.5, 9.0, 9.0], patience=2)
    with pytest.raises(StopTraining, match="after 4 iterations.*better than 3.00 for 2 eval"):
        toy.train()
    assert toy.evaluations == [1, 2, 3, 4]
    assert weight(tmp_path / "model_final.pth") == 4
    assert weight(tmp_path / "model_best.pth") == 2


def test_a_better_one_starts_the_count_anew(tmp_path):
    values = [3.0, 2.0, 4.0, 2.0, 5.0, 1.0]
    assert Toy(tmp_path, values, patience=2).train().evaluations == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("period", [1, 2])
def test_an_interrupted_evaluation_is_made_up_for(tmp_path, period):
    values = [1.0, 2.0, 1.5, 9.0, 2.0, 3.0]
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, values, period, die_at=4).train()
    assert weight(tmp_path / "model_best.pth") == 2
    toy = Toy(tmp_path, values, period, resume=True).train()
    assert toy.evaluations == [x for x in (4, 5, 6) if x % period == 0]
    assert weight(tmp_path / "model_best.pth") == 4
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert best["iteration"] == best["trainer"]["iteration"] == 3


def test_an_evaluation_that_was_made_is_not_repeated(tmp_path):
    Toy(tmp_path, [5.0, 2.0]).train()
    (tmp_path / "last_checkpoint").write_text("model_best.pth")
    assert Toy(tmp_path, [5.0, 2.0], resume=True).train().evaluations == [2]


def test_the_best_of_another_metric_does_not_count(tmp_path, caplog):
    """The AP of the boxes falls where that of the masks rises: 50 - AP."""
    Toy(tmp_path, [45.0, 46.0]).train()
    (tmp_path / "model_best.pth").unlink()
    Toy(tmp_path, [45.0, 46.0, 47.0, 48.0], resume=True, metric="bbox/AP").train()
    assert "segm/AP -> bbox/AP" in caplog.text
    assert weight(tmp_path / "model_best.pth") == 2
