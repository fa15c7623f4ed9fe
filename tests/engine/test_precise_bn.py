"""The statistics of batch norm, computed anew with TEST.PRECISE_BN."""

from itertools import islice

import pytest
import torch
from detectron2.utils.events import EventStorage

from scnet.engine import trainer as trainer_module

pytestmark = pytest.mark.slow

ON = ["TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 3]
ON += ["SOLVER.GRADIENT_ACCUMULATION", 2]  # four steps take eight batches
LAYER = "backbone.fpn_lateral2.norm"


@pytest.mark.parametrize("with_average", [False, True])
def test_what_is_kept_has_those_of_the_next_batches(make_trainer, tmp_path, with_average):
    """An average of the weights has statistics of its own."""
    trainer = make_trainer(*ON, "SOLVER.EMA.ENABLED", with_average)
    trainer.train()
    kept = torch.load(tmp_path / "run/model_final.pth")["model"]
    of_steps = trainer.trained.state_dict()[f"{LAYER}.running_mean"].clone()
    seen = []
    model = trainer.result.train()
    model.load_state_dict(kept)
    model.get_submodule(LAYER).register_forward_hook(lambda module, x, y: seen.append(x[0]))
    with torch.no_grad(), EventStorage():
        for batch in islice(trainer.data_loader.starting_at(8), 3):
            model(batch)
    pixels = torch.cat([x.transpose(0, 1).flatten(1) for x in seen], dim=1)
    mean, var = kept[f"{LAYER}.running_mean"], kept[f"{LAYER}.running_var"]
    torch.testing.assert_close(mean, pixels.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(var, pixels.var(1, correction=0), rtol=1e-4, atol=1e-5)
    assert torch.equal(of_steps, mean) != with_average


def test_the_data_is_read_once(make_trainer, monkeypatch):
    loaders = []
    TrainLoader = trainer_module.TrainLoader
    monkeypatch.setattr(
        trainer_module, "TrainLoader", lambda *args: loaders.append(1) or TrainLoader(*args)
    )
    make_trainer(*ON)
    assert len(loaders) == 1


def test_without_effect_it_says_so(make_trainer, caplog):
    make_trainer(*ON, "MODEL.SCNET.FREEZE_BN_STATISTICS", True, "MODEL.FPN.NORM", "").train()
    (said,) = [x.getMessage() for x in caplog.records if "PRECISE_BN" in x.getMessage()]
    assert "changes nothing" in said
