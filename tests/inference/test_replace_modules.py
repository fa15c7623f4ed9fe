"""Modules are replaced wherever a model refers to them."""

import gc
import weakref

import pytest
from torch import nn

from helpers import set_mask_branch
from scnet.inference.replace_modules import replace_modules


@pytest.mark.parametrize("branch", ["sample_consistency", "per_stage", "interleaved"])
def test_nothing_refers_to_the_old_modules_any_more(tiny_cfg, make_model, branch):
    """Neither the tree nor a plain list, such as those of Detectron2's FPN and mask head."""
    set_mask_branch(tiny_cfg, branch)
    model = make_model(tiny_cfg)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert any(conv in model.backbone.output_convs for conv in convs)
    names = [name for name, m in model.named_modules() if m in set(convs)]
    old = [weakref.ref(conv) for conv in convs]
    replace_modules(model, {conv: nn.Identity() for conv in convs})
    del convs
    gc.collect()
    assert [ref for ref in old if ref() is not None] == []
    modules = dict(model.named_modules())
    assert all(isinstance(modules[name], nn.Identity) for name in names)
    lists = model.backbone.lateral_convs + model.backbone.output_convs
    assert all(isinstance(x, nn.Identity) for x in lists)


def test_a_module_in_two_places_and_others_beside_it():
    """A list keeps its order, and what is no module in it."""
    shared, other = nn.Linear(1, 1), nn.ReLU()
    model = nn.Sequential(shared, nn.Sequential(other, shared), shared)
    model.beside = ["a", shared, [1], other]
    new = nn.Identity()
    replace_modules(model, {shared: new})
    assert model[0] is model[2] is model[1][1] is new and model[1][0] is other
    assert model.beside == ["a", new, [1], other]
