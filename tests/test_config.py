import pytest
import torch

from scnet import get_cfg, get_config_file
from scnet.config import CONFIG_DIR


def test_get_config_file_gives_a_file_that_loads():
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("scnet_R_50_FPN_1x_coco.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "SCNet"


def test_unknown_config_lists_the_known():
    with pytest.raises(FileNotFoundError, match="no_such.yaml.*scnet_R_50_FPN_20e_coco.yaml"):
        get_config_file("no_such.yaml")


def test_device_follows_the_machine():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == get_cfg().MODEL.DEVICE


def test_leaf_configs_are_short_and_stay_in_the_project():
    for path in CONFIG_DIR.rglob("*.yaml"):
        lines = [x for x in path.read_text().splitlines() if x.strip() and not x.startswith("#")]
        if not path.name.startswith("Base") and path.name != "quickstart.yaml":
            assert len(lines) <= 15, path
        for line in lines:
            if line.startswith("_BASE_"):
                base = (path.parent / line.split('"')[1]).resolve()
                assert base.is_file() and CONFIG_DIR.resolve() in base.parents, path


@pytest.mark.parametrize("name, epochs", [("1x", (8, 11, 12)), ("20e", (16, 19, 20))])
def test_schedules_are_epochs_of_the_paper(name, epochs):
    """Sec. 5.1: 16 images per batch, lr 0.02, divided by 10 after 16 and 19 of 20 epochs."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(f"scnet_R_50_FPN_{name}_coco.yaml"))
    iterations = [*cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER]
    images_with_objects = 117266
    for iteration, epoch in zip(iterations, epochs):
        assert abs(iteration * 16 / images_with_objects - epoch) < 0.01
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (16, 0.02, 0.1)
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE == 8
