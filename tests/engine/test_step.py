"""A training step: accumulation, mixed precision, broken losses."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from helpers import set_mask_branch, training_step
from scnet.engine.step import StepTrainer


class Toy(nn.Module):
    """Losses that are easy to follow: the mean over the batch of x w, and w squared."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.layer.weight)
        self.dtypes = []

    def forward(self, batch):
        y = self.layer(torch.stack([x["image"] for x in batch]))
        self.dtypes.append(y.dtype)
        return {"loss_a": y.float().mean(), "loss_b": self.layer.weight.square().sum()}


def images(*rows):
    return [{"image": torch.tensor(row), "file_name": f"{row[0]:g}.png"} for row in rows]


BATCHES = [images([1.0, 2, 3], [4.0, 5, 6]), images([0.0, 0, 1], [2.0, 0, 1])]


def step(batches, **kwargs):
    model = Toy()
    trainer = StepTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.5), **kwargs)
    with EventStorage() as storage:
        trainer.iter = 7
        trainer.run_step()
    return model, storage.latest()


def test_parts_are_averaged():
    model, latest = step(BATCHES, parts=2)
    mean = torch.stack([x["image"] for batch in BATCHES for x in batch]).mean(dim=0)
    expected = 1 - 0.5 * (mean + 2)  # d/dw of mean x w + w^2, at w = 1
    assert torch.allclose(model.layer.weight[0], expected)
    assert latest["loss_a"][0] == pytest.approx(mean.sum().item())
    assert latest["total_loss"][0] == pytest.approx(mean.sum().item() + 3)


def test_mixed_precision_on_the_cpu_is_bfloat16_with_single_precision_weights():
    model, _ = step(BATCHES, precision=torch.bfloat16)
    assert model.dtypes == [torch.bfloat16] and model.layer.weight.dtype == torch.float32
    exact, _ = step(BATCHES)
    assert torch.allclose(model.layer.weight, exact.layer.weight, rtol=2e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_loss_is_named_with_its_images_and_changes_nothing(value):
    batches = [BATCHES[0], images([value, 2, 3], [5.0, 5, 5])]
    model = Toy()
    trainer = StepTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.5), parts=2)
    trainer.iter = 7
    match = rf"loss_a is {value} at iteration 7, with the images {value}.png, 5.png.*loss_b 3\."
    with EventStorage(), pytest.raises(FloatingPointError, match=match):
        trainer.run_step()
    assert torch.equal(model.layer.weight, torch.ones(1, 3))


@pytest.mark.parametrize(
    "branch", ["sample_consistency", "naive_sample_consistency", "per_stage", "interleaved"]
)
def test_losses_in_mixed_precision(tiny_cfg, make_model, make_batch, branch):
    """Near those in single precision, for all that the samples do not depend on."""
    set_mask_branch(tiny_cfg, branch)
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0, 1], [4]])
    exact = training_step(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = training_step(model, batch)
    assert mixed.keys() == exact.keys()
    for name in ("loss_sem_seg", "loss_global_context", "loss_rpn_cls"):
        assert mixed[name].item() == pytest.approx(exact[name].item(), rel=0.05), name
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
