import json

import pytest
import torch
from detectron2.engine import DefaultTrainer

from scnet import get_cfg, get_config_file
from scnet.checkpoint import SCNetCheckpointer
from scnet.engine import Trainer, load_for_evaluation
from scnet.engine.evaluation.evaluating_trainer import best_metric
from scnet.engine.evaluation.results import write_results


def test_published_schedule_scales_to_fewer_gpus():
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("scnet_R_50_FPN_20e_coco.yaml"))
    one = Trainer.auto_scale_workers(cfg, 1)
    assert (one.SOLVER.IMS_PER_BATCH, one.SOLVER.BASE_LR) == (2, 0.0025)
    assert one.SOLVER.MAX_ITER == 8 * cfg.SOLVER.MAX_ITER
    assert tuple(8 * s for s in cfg.SOLVER.STEPS) == one.SOLVER.STEPS


@pytest.mark.parametrize("name, kind", [("SGD", torch.optim.SGD), ("AdamW", torch.optim.AdamW)])
def test_optimizers(tiny_cfg, make_model, name, kind):
    tiny_cfg.SOLVER.OPTIMIZER = name
    tiny_cfg.SOLVER.BASE_LR = 0.125
    model = make_model(tiny_cfg)
    optimizer = Trainer.build_optimizer(tiny_cfg, model)
    assert isinstance(optimizer, kind)
    groups = optimizer.param_groups
    assert {g["lr"] for g in groups} == {0.125}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_unknown_optimizer(tiny_cfg, make_model):
    tiny_cfg.SOLVER.OPTIMIZER = "adam"
    with pytest.raises(ValueError, match="'SGD' or 'AdamW', not 'adam'"):
        Trainer.build_optimizer(tiny_cfg, make_model(tiny_cfg))


def test_results_are_written_whole_and_as_a_table(tmp_path):
    results = {"set": {"bbox": {"AP": 12.345, "AP50": 50.0}, "segm": {"AR": 67.89, "AP-disk": 2.0}}}
    write_results(results, str(tmp_path / "inference"))
    assert json.loads((tmp_path / "inference/results.json").read_text()) == results
    table = (tmp_path / "inference/results.md").read_text().splitlines()
    assert table[0].split()[1:6] == ["data", "set", "|", "task", "|"]
    assert "12.3" in table[2] and "50.0" in table[2] and "bbox" in table[2]
    assert table[0].split()[-2] == "AR"
    assert "segm" in table[3] and "nan" in table[3] and table[3].split()[-2] == "67.9"
    write_results({"2017": results["set"]}, str(tmp_path))
    assert "| 2017 " in (tmp_path / "results.md").read_text()


def test_a_batch_that_cannot_be_divided(make_trainer):
    with pytest.raises(ValueError, match="IMS_PER_BATCH 2 cannot be divided among 1 .* 3 parts"):
        make_trainer("SOLVER.GRADIENT_ACCUMULATION", 3)


def test_it_is_detectron2s_trainer_with_hooks_of_its_own_among_detectron2s(make_trainer):
    trainer = make_trainer("SOLVER.EMA.ENABLED", True, "VIS_PERIOD", 2)
    assert isinstance(trainer, DefaultTrainer)
    assert [type(hook).__name__ for hook in trainer._hooks] == [
        *("IterationTimer", "ExponentialMovingAverage", "PeakMemory", "Duration"),
        *("TrainingPictures", "LRScheduler", "PeriodicCheckpointer", "WatchBrokenImages"),
        *("StopOnSignal", "EvalAndKeepBest", "PeriodicWriter"),
    ]


def test_evaluation_takes_the_last_checkpoint_if_it_is_to_resume(tiny_cfg, make_model, tmp_path):
    tiny_cfg.OUTPUT_DIR, tiny_cfg.DATASETS.TEST = str(tmp_path / "run"), ()
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "start.pth")
    model, name = make_model(tiny_cfg), "roi_heads.mask_branch.heads.0.predictor.bias"
    torch.save(model.state_dict(), tiny_cfg.MODEL.WEIGHTS)
    start = model.get_parameter(name).detach().clone()

    def loaded(resume):
        return load_for_evaluation(tiny_cfg, resume).get_parameter(name)

    assert torch.equal(loaded(resume=True), start)  # there is none yet
    (tmp_path / "run").mkdir()
    torch.nn.init.constant_(model.get_parameter(name), 7)
    SCNetCheckpointer(model, tiny_cfg.OUTPUT_DIR).save("model_0000001")
    assert torch.equal(loaded(resume=True), model.get_parameter(name))
    assert torch.equal(loaded(resume=False), start)


def test_the_best_metric(tiny_cfg):
    assert best_metric(tiny_cfg) == "segm/AP"
    tiny_cfg.DATASETS.TEST = ("a", "b")
    assert best_metric(tiny_cfg) == "a/segm/AP"
    tiny_cfg.MODEL.MASK_ON = False
    assert best_metric(tiny_cfg) == "a/bbox/AP"
    tiny_cfg.TEST.BEST_METRIC = "b/segm/AP50"
    assert best_metric(tiny_cfg) == "b/segm/AP50"
