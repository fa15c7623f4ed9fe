"""--epochs, --batch and --lr: what becomes of the schedule of a config."""

from argparse import Namespace

import pytest
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from helpers import CocoSet
from scnet import get_cfg
from scnet.config import read_cfg
from scnet.engine import configure_data, setup
from scnet.engine.schedule_arguments import count_training_images, set_schedule
from scnet_tools.train_net import argument_parser

CONFIG = "scnet_R_50_FPN_own_data"  # 6000 iterations of 2 images, 0.0025, for one process


@pytest.fixture
def schedule(coco_set, monkeypatch):
    """schedule(KEY, value, ..., images=, processes=, epochs=, ...): the line, SOLVER and TEST."""

    def schedule(*opts, config=CONFIG, images=100, processes=1, eval_only=False, **given):
        first = coco_set.content["images"][0]
        coco_set.content["images"] = [{**first, "id": k} for k in range(images + 7)]
        one = coco_set.content["annotations"][0]
        objects = [{**one, "id": k + 1, "image_id": k} for k in range(images)]
        crowds = [{**one, "id": images + 1, "image_id": images, "iscrowd": 1}]
        coco_set.content["annotations"] = objects + crowds
        coco_set.write()
        data = [
            *("DATASETS.TRAIN_JSON", (str(coco_set.json_file),)),
            *("DATASETS.TRAIN_IMAGES", (str(coco_set.images),)),
        ]
        cfg = read_cfg(config, [*data, *opts])
        configure_data(cfg, [])
        monkeypatch.setattr(comm, "get_world_size", lambda: processes)
        args = {**dict.fromkeys(("epochs", "batch", "lr")), **given, "eval_only": eval_only}
        lines = set_schedule(cfg, Namespace(**args), opts[::2])
        return lines, cfg.SOLVER, cfg.TEST

    return schedule


def test_without_arguments_nothing_changes(schedule):
    lines, solver, _ = schedule(processes=4)
    assert lines == [] and (solver.MAX_ITER, solver.REFERENCE_WORLD_SIZE) == (6000, 1)


def test_epochs_are_of_images_with_objects(schedule):
    """All but the learning rate keeps its share of the schedule."""
    (line,), solver, test = schedule(epochs=30)
    assert solver.MAX_ITER == 30 * 100 / 2
    assert solver.STEPS == (1000, 1375)
    assert (solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD, test.EVAL_PERIOD) == (125, 250, 250)
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (2, 0.0025)
    assert line.startswith("Schedule of --epochs 30, for 100 images: SOLVER.")
    assert "SOLVER.MAX_ITER 6000 -> 1500" in line and "TEST.EVAL_PERIOD 1000 -> 250" in line


def test_empty_images_count_where_they_are_trained_on(schedule):
    _, solver, _ = schedule("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, epochs=10)
    assert solver.MAX_ITER == 10 * 107 / 2


def test_a_warm_up_does_not_become_longer(schedule):
    _, solver, _ = schedule(epochs=600)
    assert (solver.MAX_ITER, solver.WARMUP_ITERS) == (30000, 500)


def test_a_schedule_of_one_iteration(schedule):
    _, solver, test = schedule(epochs=0.001)
    assert (solver.MAX_ITER, solver.STEPS, solver.CHECKPOINT_PERIOD) == (1, (), 1)
    assert test.EVAL_PERIOD == 1
    _, _, test = schedule(config="quickstart", epochs=0.001)  # which evaluates at the end only
    assert test.EVAL_PERIOD == 0


def test_images_of_a_set_without_json_are_counted_too():
    objects = {"annotations": [{"category_id": 0}], "width": 1, "height": 1}
    DatasetCatalog.register("of_a_function", lambda: [objects, objects, {"annotations": []}])
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("of_a_function",)
    assert count_training_images(cfg) == 2
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    assert count_training_images(cfg) == 3
    DatasetCatalog.remove("of_a_function")


def test_a_larger_batch_sees_the_same_images_with_a_larger_rate(schedule):
    _, solver, test = schedule(batch=8)
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (8, 0.01)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (1500, (1000, 1375), 125)
    assert (solver.CHECKPOINT_PERIOD, test.EVAL_PERIOD) == (250, 250)
    _, solver, _ = schedule(batch=8, lr=0.004, epochs=30)
    assert (solver.BASE_LR, solver.MAX_ITER) == (0.004, 375)


@pytest.mark.parametrize("given", [{"batch": 8}, {}])
def test_with_several_processes_values_are_those_in_force(schedule, given):
    """The config's two images are per process; --batch is of all together, and 8 is 4 x 2."""
    _, solver, _ = schedule(processes=4, epochs=30, **given)
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (8, 0.01, 375)
    assert solver.REFERENCE_WORLD_SIZE == 4  # nothing is scaled again
    _, solver, _ = schedule(processes=4, lr=0.007)
    assert (solver.BASE_LR, solver.IMS_PER_BATCH, solver.MAX_ITER) == (0.007, 8, 1500)


def test_a_config_that_is_for_any_number_of_processes_stays_so(schedule):
    opts = ["SOLVER.REFERENCE_WORLD_SIZE", 0]
    _, solver, _ = schedule(*opts, processes=2, batch=4)
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (4, 0.005, 3000)
    assert solver.REFERENCE_WORLD_SIZE == 0


def test_keys_that_are_given_are_not_changed(schedule):
    opts = ["SOLVER.WARMUP_ITERS", 40, "SOLVER.BASE_LR", 0.1, "TEST.EVAL_PERIOD", 50]
    _, solver, test = schedule(*opts, batch=4, epochs=8)
    assert (solver.WARMUP_ITERS, solver.BASE_LR, test.EVAL_PERIOD) == (40, 0.1, 50)
    assert solver.MAX_ITER == 200


@pytest.mark.parametrize(
    "opts, given, message",
    [
        (["SOLVER.MAX_ITER", 9], {"epochs": 3}, "--epochs stands for SOLVER.MAX_ITER"),
        (["SOLVER.STEPS", (9,)], {"epochs": 3}, "--epochs stands for SOLVER.STEPS"),
        (["SOLVER.IMS_PER_BATCH", 2], {"batch": 2}, "--batch stands for SOLVER.IMS_PER_BATCH"),
        (["SOLVER.BASE_LR", 0.1], {"lr": 0.1}, "--lr stands for SOLVER.BASE_LR"),
        ([], {"epochs": 0}, "--epochs is 0. It must be above 0"),
        ([], {"lr": float("inf")}, "--lr is inf. It must be"),
        ([], {"batch": -2}, "--batch is -2. It must be"),
        ([], {"batch": 3, "processes": 2}, "--batch 3 cannot be divided among 2 processes"),
        ([], {"epochs": 3, "eval_only": True}, "--epochs is for a training"),
    ],
)
def test_contradictions(schedule, opts, given, message):
    with pytest.raises(ValueError, match=message):
        schedule(*opts, **given)


def test_the_same_command_goes_on_with_the_same_schedule(tmp_path):
    """Also with the config of the run, which has the new schedule already."""
    data = CocoSet(tmp_path)
    words = ["--train-json", data.json_file, "--train-images", data.images, "--epochs", 30]
    run = ["--batch", 4, "OUTPUT_DIR", tmp_path / "run"]
    log = tmp_path / "run/log.txt"

    def start(*more):
        return setup(argument_parser().parse_args([*map(str, [*more, *words, *run])]))

    first = start("--config", "quickstart")
    assert first.SOLVER.MAX_ITER == 30 * 2 / 4 and "SOLVER.MAX_ITER 1000 -> 15" in log.read_text()
    assert f"MAX_ITER: {first.SOLVER.MAX_ITER}\n" in (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/metrics.json").write_text("{}\n")
    for config in ("quickstart", tmp_path / "run/config.yaml"):
        again = start("--resume", "--config", config)
        assert again.SOLVER == first.SOLVER
    assert "goes on with another config" not in log.read_text()
