import argparse
import itertools
import os
import resource
import signal
import sys
from contextlib import nullcontext

import pytest

from helpers import room_for
from scnet import get_config_file
from scnet.config import read_cfg
from scnet.data.own_data import ARGUMENTS
from scnet.engine import setup
from scnet.engine.output_dir import check_former_config, prepare_output_dir, save_config
from scnet.engine.start_checks import check_device_of_processes


@pytest.fixture
def args(tmp_path):
    def make(*opts, resume=False, eval_only=False):
        return argparse.Namespace(
            config_file=get_config_file("quickstart.yaml"),
            opts=["OUTPUT_DIR", str(tmp_path / "run"), *map(str, opts)],
            resume=resume,
            eval_only=eval_only,
            **dict.fromkeys(("val_fraction", "epochs", "batch", "lr")),
            **dict.fromkeys(ARGUMENTS, ()),
        )

    return make


@pytest.fixture
def finished_run(args, tmp_path):
    setup(args())
    (tmp_path / "run/metrics.json").write_text("{}\n")
    (tmp_path / "run/last_checkpoint").write_text("model_0000001.pth")
    return tmp_path / "run"


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "log.txt"}


def test_a_run_is_not_overwritten(args, finished_run):
    before = contents(finished_run)
    with pytest.raises(FileExistsError, match="run' holds a run already.*--resume"):
        setup(args("SOLVER.BASE_LR", 0.5))
    assert contents(finished_run) == before


@pytest.mark.parametrize(
    "name",
    [
        *("config.yaml", "log.txt", "log.txt.rank1", "metrics.json", "runs.jsonl", "run.lock"),
        "events.out.tfevents.1700000000.host.1.0",
    ],
)
@pytest.mark.parametrize("folder, eval_only", [("run", False), ("run/inference", True)])
def test_links_in_the_output_folder_are_not_followed(args, tmp_path, name, folder, eval_only):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / name).symlink_to(mine)
    with pytest.raises(FileExistsError, match=f"{name}' is a link"):
        setup(args(eval_only=eval_only))
    assert mine.read_text() == "mine"


def test_a_trainer_alone_follows_no_links_either(make_trainer, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.lock").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="run.lock' is a link"):
        make_trainer()
    assert not (tmp_path / "nowhere").exists()


def test_the_output_folder_itself_may_be_a_link(args, tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "large disk")
    setup(args())
    assert (tmp_path / "large disk/config.yaml").exists()


def test_resume_with_the_same_model_keeps_the_old_config(args, finished_run):
    before = (finished_run / "config.yaml").read_text()
    cfg = setup(args("SOLVER.MAX_ITER", 77, resume=True))
    assert cfg.SOLVER.MAX_ITER == 77
    assert (finished_run / "config.yaml.1").read_text() == before
    assert "MAX_ITER: 77" in (finished_run / "config.yaml").read_text()
    setup(args("SOLVER.MAX_ITER", 77, resume=True))  # nothing changed: no second backup
    assert not (finished_run / "config.yaml.2").exists()


@pytest.mark.parametrize(
    "key, value",
    [
        ("MODEL.SCNET.FEATURE_RELAY", False),
        ("SOLVER.OPTIMIZER", "SGD"),
        ("SOLVER.EMA.ENABLED", True),
    ],
)
def test_resume_with_another_model_or_optimizer_is_refused(args, finished_run, key, value):
    before = contents(finished_run)
    with pytest.raises(FileExistsError, match=f"{key} differ"):
        setup(args(key, value, resume=True))
    assert contents(finished_run) == before


def test_resume_with_other_weights_or_device_is_not_another_model(args, finished_run):
    setup(args("MODEL.WEIGHTS", "other.pth", resume=True))


def test_resume_says_what_is_different(args, finished_run):
    opts = ["MODEL.WEIGHTS", "other.pth", "SOLVER.BASE_LR", 0.5, "SEED", 12]
    setup(args(*opts, resume=True))
    log = (finished_run / "log.txt").read_text()
    _, _, log = log.partition("The run goes on with another config:\n")
    assert log.splitlines()[:2] == [
        "MODEL.WEIGHTS  -> other.pth (not used: the run goes on from its last checkpoint)",
        "SOLVER.BASE_LR 0.001 -> 0.5",
    ]
    assert "SEED" not in log


def test_evaluation_leaves_the_files_of_the_training_alone(args, finished_run):
    before = contents(finished_run)
    cfg = setup(args("MODEL.SCNET.SCORE_AVERAGE", "probabilities", eval_only=True))
    assert str(finished_run) == cfg.OUTPUT_DIR
    after = contents(finished_run)
    assert {p: after[p] for p in before} == before
    assert "SCORE_AVERAGE: probabilities" in (finished_run / "inference/config.yaml").read_text()


def test_own_data_is_registered_and_named_in_the_config(args, coco_set):
    pair = [("JSON", coco_set.json_file), ("IMAGES", coco_set.images)]
    opts = [x for key, path in pair for x in (f"DATASETS.TRAIN_{key}", f"('{path}',)")]
    cfg = setup(args(*opts))
    assert (f"{coco_set.json_file.parent.name}/set",) == cfg.DATASETS.TRAIN
    assert cfg.DATASETS.TEST == ()  # the config's own has other classes


def test_own_data_without_its_images_is_refused(args, tmp_path):
    with pytest.raises(ValueError, match="TRAIN_JSON names 1 files and DATASETS.TRAIN_IMAGES 0"):
        setup(args("DATASETS.TRAIN_JSON", "('a.json',)"))
    with pytest.raises(FileNotFoundError, match="a.json' does not exist"):
        setup(args("DATASETS.TEST_JSON", "('a.json',)", "DATASETS.TEST_IMAGES", "('b',)"))


def test_a_batch_that_the_reference_gpus_cannot_share_is_explained(args):
    with pytest.raises(ValueError, match="IMS_PER_BATCH .3. is not a multiple.*Set it to 0"):
        setup(args("SOLVER.IMS_PER_BATCH", 3, "SOLVER.REFERENCE_WORLD_SIZE", 8))
    cfg = setup(args("SOLVER.IMS_PER_BATCH", 3, "SOLVER.REFERENCE_WORLD_SIZE", 0))
    assert os.path.exists(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))


def test_settings_that_cannot_be(args):
    with pytest.raises(ValueError, match="TEST.PATIENCE 3 counts.*Set TEST.EVAL_PERIOD"):
        setup(args("TEST.PATIENCE", 3))
    with pytest.raises(ValueError, match="TEST.PATIENCE 3 counts.*DATASETS.TEST"):
        setup(args("TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 5, "DATASETS.TEST", "()"))


@pytest.mark.parametrize("value", [0, -2])
@pytest.mark.parametrize(
    "key", ["IMS_PER_BATCH", "MAX_ITER", "CHECKPOINT_PERIOD", "GRADIENT_ACCUMULATION"]
)
def test_numbers_that_must_be_positive(args, key, value):
    with pytest.raises(ValueError, match=f"SOLVER.{key} is {value}. It must be at least 1"):
        setup(args(f"SOLVER.{key}", value))


@pytest.mark.parametrize("metric", ["segm/ap", "AP", "segm/AP-disc", "bbox/AR2", "val/segm/AP"])
def test_a_best_metric_that_no_evaluation_gives(args, metric, tmp_path):
    with pytest.raises(ValueError, match=f"BEST_METRIC '{metric}' .* segm/AP, .* bbox/ARl; and"):
        setup(args("TEST.BEST_METRIC", metric))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("metric", ["segm/AP50", "bbox/ARs", "bbox/AP-disk", "segm/AP50-disk"])
def test_best_metrics_that_evaluations_give(args, metric):
    setup(args("TEST.BEST_METRIC", metric))
    with pytest.raises(ValueError, match="There are: scnet_shapes_val/segm/AP, "):
        opts = ["DATASETS.TEST", "('scnet_shapes_val', 'scnet_shapes_train')"]
        setup(args("TEST.BEST_METRIC", metric, *opts))
    setup(args("TEST.BEST_METRIC", f"scnet_shapes_train/{metric}", *opts))


@pytest.mark.parametrize("eval_only", [False, True])
@pytest.mark.parametrize(
    "name, kind",
    [
        ("lvis_v1_val", "lvis"),
        ("cityscapes_fine_instance_seg_val", "cityscapes_instance"),
        ("voc_2007_val", "pascal_voc"),
    ],
)
def test_data_that_is_not_evaluated_as_coco_is(args, name, kind, eval_only):
    with pytest.raises(ValueError, match=f"'{name}' .* as '{kind}' .*DATASETS.TEST \"\\(\\)\""):
        setup(args("DATASETS.TEST", f"('{name}',)", eval_only=eval_only))


@pytest.mark.parametrize("text", ["SOLVER: {BASE_LR: 0.5}  # mine\n", "- no config\n", "copy"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_config_of_the_user_in_the_output_folder_is_not_replaced(args, tmp_path, text, resume):
    mine = tmp_path / "run/config.yaml"
    setup(args("OUTPUT_DIR", tmp_path / "other"))
    mine.parent.mkdir()
    mine.write_text(text if text != "copy" else (tmp_path / "other/config.yaml").read_text())
    before = mine.read_text()
    with pytest.raises(FileExistsError, match="config.yaml' is of no run.*Move.* --config-file"):
        setup(args(resume=resume))
    assert mine.read_text() == before
    assert not (tmp_path / "run/log.txt").exists()


def test_a_training_that_ended_before_its_first_step_may_be_started_anew(args, tmp_path):
    setup(args())
    setup(args("SOLVER.BASE_LR", 0.5))
    assert "BASE_LR: 0.5" in (tmp_path / "run/config.yaml").read_text()
    assert not list((tmp_path / "run").glob("config.yaml.*"))


def test_a_run_without_its_config_goes_on_and_says_so(args, finished_run):
    (finished_run / "config.yaml").unlink()
    setup(args(resume=True))
    assert "The run has no config.yaml" in (finished_run / "log.txt").read_text()
    assert (finished_run / "config.yaml").exists()


def start(cfg):
    prepare_output_dir(cfg, resume=True)
    save_config(cfg)


def killed(cfg, moment, within):
    """Whether a process that starts with a config is killed at a file operation on config.yaml.

    Args:
        moment: the number of the operation, from 0.
        within: not before it, but in the middle of the next writing.
    """
    operations = itertools.count()

    def hook(event, arguments):
        if not any("config.yaml" in x for x in arguments if isinstance(x, str)):
            return
        if event in ("open", "os.rename", "os.remove") and next(operations) == moment:
            if not within:
                os._exit(9)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    process = os.fork()
    if not process:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        sys.addaudithook(hook)
        start(cfg)
        os._exit(0)
    return os.waitpid(process, 0)[1] != 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system kills processes in another way")
@pytest.mark.parametrize("within", [False, True])
def test_killed_while_the_config_is_written(args, finished_run, within):
    """At every moment the former config is kept, and the same command goes on."""
    config = finished_run / "config.yaml"
    before = config.read_text()
    died, moments = True, itertools.count()
    while died:  # until the moment is later than all operations
        moment = next(moments)
        for path in finished_run.glob("config.yaml*"):
            path.unlink()
        config.write_text(before)
        died = killed(read_cfg(config, ["SOLVER.MAX_ITER", 77]), moment, within)
        cfg = read_cfg(config, ["SOLVER.MAX_ITER", 77])  # as with --config-file OUT/config.yaml
        start(cfg)
        texts = {path.name: path.read_text() for path in finished_run.glob("config.yaml*")}
        assert texts == {"config.yaml": cfg.dump(), "config.yaml.1": before}, moment
    assert moment > 1


@pytest.mark.parametrize("eval_only", [False, True])
def test_a_full_disk_is_one_sentence(args, tmp_path, eval_only):
    """Before the log, whose handlers would print a traceback for each line."""
    with room_for(1000), pytest.raises(OSError, match="OUTPUT_DIR '.*' cannot be written to: "):
        setup(args(eval_only=eval_only))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.lock"]


@pytest.mark.parametrize("line", ["", "  DEVICE: cpu\n", "  DEVICE: cuda\n"])
def test_another_device_is_no_change_of_a_run(args, finished_run, monkeypatch, line):
    """Whether or not its config.yaml has one, as those of older versions have."""
    config = finished_run / "config.yaml"
    config.write_text(config.read_text().replace("MODEL:\n", f"MODEL:\n{line}", 1))
    cfg = setup(args(resume=True)).clone()
    cfg.defrost()
    for device in ("cpu", "cuda", "mps"):
        cfg.MODEL.DEVICE = device
        assert check_former_config(cfg) == []


@pytest.mark.parametrize(
    "device, backend, words",
    [
        ("cuda:1", "nccl", "'cuda:1' is one device for 2 processes"),
        ("cpu", "nccl", "'cpu', but .* by NCCL.* CUDA_VISIBLE_DEVICES=''"),
        ("cpu", "gloo", None),
        ("cuda", "nccl", None),
    ],
)
def test_devices_of_several_processes(args, monkeypatch, device, backend, words):
    cfg = setup(args()).clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    check_device_of_processes(cfg)  # one process takes any
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_backend", lambda: backend)
    with pytest.raises(ValueError, match=words) if words else nullcontext():
        check_device_of_processes(cfg)


@pytest.mark.parametrize("eval_only", [False, True])
def test_a_gpu_that_is_not_there(args, tmp_path, monkeypatch, eval_only):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is available to PyTorch.*add MODEL.DEVICE cpu"):
        setup(args("MODEL.DEVICE", "cuda", eval_only=eval_only))
    assert not (tmp_path / "run").exists()
