"""Memory is saved, and the numbers stay."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from helpers import set_mask_branch, training_step

BOTH = ("backbone", "mask_branch")


def step(cfg, make_model, make_batch, places):
    """Losses, gradients and the bytes that were kept for the backward pass."""
    cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = places
    model, kept = make_model(cfg), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)
    batch = make_batch(cfg, [[0, 1], [4]])
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = training_step(model, batch)
    gradients = {n: p.grad for n, p in model.named_parameters()}
    assert gradients.keys() <= model.state_dict().keys()  # what checkpoints call them
    return losses, gradients, sum(kept.values())


@pytest.mark.parametrize("places", [BOTH, BOTH[:1], BOTH[1:]])
def test_same_numbers(tiny_cfg, make_model, make_batch, places):
    tiny_cfg.MODEL.SCNET.FREEZE_BN_STATISTICS = True
    losses, gradients, kept = step(tiny_cfg, make_model, make_batch, ())
    losses2, gradients2, kept2 = step(tiny_cfg, make_model, make_batch, places)
    assert losses == losses2
    assert gradients.keys() == gradients2.keys()
    assert all(torch.equal(gradients[k], v) for k, v in gradients2.items())
    assert kept2 < (0.6 if "backbone" in places else 0.99) * kept


def test_what_cannot_be(tiny_cfg, make_model):
    tiny_cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = ("backbone",)
    with pytest.raises(ValueError, match="of the backbone count each batch twice.*FREEZE_BN_STAT"):
        make_model(tiny_cfg)
    tiny_cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = ("mask_branch",)
    tiny_cfg.MODEL.SCNET.FREEZE_BN_STATISTICS = True  # of the backbone
    tiny_cfg.MODEL.ROI_MASK_HEAD.NORM = "BN"
    with pytest.raises(ValueError, match="of the mask_branch count each batch twice"):
        make_model(tiny_cfg)
    tiny_cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = ("neck",)
    with pytest.raises(ValueError, match="has 'neck'. It may have"):
        make_model(tiny_cfg)
    tiny_cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = ("mask_branch",)
    set_mask_branch(tiny_cfg, "per_stage")
    with pytest.raises(ValueError, match="has 'mask_branch', which has no blocks"):
        make_model(tiny_cfg)
