"""The LazyConfig builds the model of the yaml config, and trains as Detectron2's script does it."""

import omegaconf
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from scnet import get_config_file
from scnet.config import read_cfg

SMALL = [
    *("model.roi_heads.num_classes=5", "model.semantic_head.num_classes=9"),
    "model.roi_heads.batch_size_per_image=16",
    *(f"model.roi_heads.box_heads.{k}.fc_dims=[32, 32]" for k in range(3)),
    *(f"model.roi_heads.box_predictors.{k}.input_shape.channels=32" for k in range(3)),
    "model.roi_heads.mask_branch.relays.0.in_channels=32",
    "model.proposal_generator.post_nms_topk=[40, 20]",
]


@pytest.fixture
def lazy_cfg():
    return LazyConfig.load(get_config_file("lazy/scnet_R_50_FPN_1x_coco.py"))


@pytest.fixture
def yaml_cfg():
    return read_cfg(get_config_file("scnet_R_50_FPN_1x_coco.yaml"), ["MODEL.DEVICE", "cpu"])


def settings(model):
    """What modules hold besides parameters and modules: numbers, strings, lists of them."""

    def plain(value):
        if isinstance(value, (list, tuple, omegaconf.ListConfig)):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, float):
            return round(value, 6)
        if type(value).__module__.startswith(("detectron2.modeling", "scnet")) and not isinstance(
            value, torch.nn.Module
        ):
            return type(value).__name__, plain(vars(value))
        return value if isinstance(value, (int, str, type(None))) else type(value).__name__

    return {
        f"{name}.{key}": plain(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_")
    }


@pytest.mark.slow
def test_it_is_the_model_of_the_yaml_config(lazy_cfg, yaml_cfg):
    torch.manual_seed(1)
    one = instantiate(lazy_cfg.model)
    torch.manual_seed(2)
    other = build_model(yaml_cfg)
    assert str(one) == str(other)  # the layers
    assert settings(one) == settings(other)
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, x in ours.items():
        y = theirs[name]
        assert x.shape == y.shape, name
        if x.numel() >= 1000 and x.std() > 0:  # both were drawn, with other random numbers
            assert not torch.equal(x, y), name
            tolerance = 5 * x.std().item() / x.numel() ** 0.5
            assert x.mean().item() == pytest.approx(y.mean().item(), abs=2 * tolerance), name
            assert x.std().item() == pytest.approx(y.std().item(), abs=tolerance), name
        elif x.numel() and x.min() == x.max():
            assert torch.equal(x, y), name
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (one, other)]
    assert trained[0] == trained[1]


def test_the_rest_is_that_of_the_yaml_config(lazy_cfg, yaml_cfg):
    solver, train = yaml_cfg.SOLVER, lazy_cfg.train
    assert train.max_iter == solver.MAX_ITER
    assert lazy_cfg.lr_multiplier.scheduler.milestones == list(solver.STEPS)
    assert train.init_checkpoint == yaml_cfg.MODEL.WEIGHTS
    assert train.checkpointer.period == solver.CHECKPOINT_PERIOD
    assert lazy_cfg.dataloader.train.total_batch_size == solver.IMS_PER_BATCH
    assert [lazy_cfg.dataloader.train.dataset.names] == list(yaml_cfg.DATASETS.TRAIN)
    assert [lazy_cfg.dataloader.test.dataset.names] == list(yaml_cfg.DATASETS.TEST)
    assert lazy_cfg.dataloader.evaluator.dataset_name == yaml_cfg.DATASETS.TEST[0]
    multiplier = instantiate(lazy_cfg.lr_multiplier)
    for iteration, factor in {
        0: solver.WARMUP_FACTOR,
        solver.WARMUP_ITERS // 2: 0.5,
        solver.WARMUP_ITERS: 1.0,
        solver.STEPS[0]: 0.1,
        solver.STEPS[1]: 0.01,
    }.items():
        assert multiplier(iteration / train.max_iter) == pytest.approx(factor, rel=2e-3)
    lazy_cfg.optimizer.params.model = torch.nn.BatchNorm2d(2)
    group = instantiate(lazy_cfg.optimizer).param_groups[0]
    assert (group["lr"], group["momentum"]) == (solver.BASE_LR, solver.MOMENTUM)
    assert group["weight_decay"] == solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM


@pytest.mark.slow
def test_it_trains_as_detectron2s_script_does(lazy_cfg, tiny_cfg, make_batch, tmp_path):
    """The calls of tools/lazyconfig_train_net.py, with images from here."""
    cfg = LazyConfig.apply_overrides(lazy_cfg, SMALL)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    batch = make_batch(tiny_cfg, [[0, 1], [4]])
    trainer = SimpleTrainer(model.train(), [batch], instantiate(cfg.optimizer))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with EventStorage() as trainer.storage:
        trainer.iter = 0
        trainer.run_step()
        assert {
            "loss_mask",
            "loss_sem_seg",
            "loss_global_context",
        } < trainer.storage.latest().keys()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name
    with torch.no_grad():
        assert len(model.eval()(batch)) == 2
    assert (tmp_path / "config.yaml").read_text()
    assert not (tmp_path / "config.yaml.pkl").exists()  # what Detectron2 writes if yaml cannot
