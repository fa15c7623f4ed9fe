"""What a run says and leaves about itself."""

import json
import math
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from scnet import get_cfg
from scnet.config import CONFIG_DIR
from scnet.engine import Trainer, disk_space
from scnet.engine.provenance import git_state
from scnet.engine.schedule import describe_schedule
from scnet.engine.weights_and_biases import start_wandb
from scnet.peak_memory import peak_memory


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_says_for_how_many_gpus_it_is_written(path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE > 0
    assert cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.REFERENCE_WORLD_SIZE == 0


def test_one_line_about_the_schedule(monkeypatch):
    written = get_cfg()
    written.merge_from_file(str(CONFIG_DIR / "scnet_R_50_FPN_1x_coco.yaml"))
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    used = Trainer.auto_scale_workers(written, 2)
    model = nn.Linear(1, 1)
    optimizer = Trainer.build_optimizer(used, model)
    parts = (optimizer, Trainer.build_lr_scheduler(used, optimizer))
    line = describe_schedule(used, written, *parts)
    assert "4 images per step (2 processes x 1 parts x 2), SGD (momentum 0.9, weight_dec" in line
    last = used.SOLVER.MAX_ITER - 1
    first, second = used.SOLVER.STEPS
    assert f"0 to {last}, learning rate 5e-06 at 0, 0.005 at 2000, 0.0005 at {first}, " in line
    assert f", 5e-05 at {second}, 5e-05 at {last}. " in line
    assert "written for 8 processes with 0.02 and 879" in line
    assert "as the config says" in describe_schedule(used, used, *parts) and "\n" not in line


def test_the_line_about_the_schedule_has_the_rates_of_all_groups():
    cfg = get_cfg()
    parameters = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.4)]
    optimizer = torch.optim.SGD(parameters)
    line = describe_schedule(cfg, cfg, optimizer, Trainer.build_lr_scheduler(cfg, optimizer))
    assert "; of groups of parameters 0.1 to 0.4 before warm-up and decay" in line


def test_the_line_about_the_schedule_says_what_is_in_force():
    """Whatever the config says."""
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.MAX_ITER", 2001])
    cfg.SOLVER.STEPS = ()
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=0.5, weight_decay=0.25)
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    before = scheduler.state_dict(), optimizer.state_dict()
    line = describe_schedule(cfg, cfg, optimizer, scheduler, start=1500)
    assert "AdamW (betas (0.9, 0.999), weight_decay 0.25), iterations 1500 to 2000" in line
    half = 0.5 * (1 + math.cos(math.pi * 1500 / 2001)) / 2
    assert f"learning rate {half:.4g} at 1500, " in line
    assert (scheduler.state_dict(), optimizer.state_dict()) == before


def test_a_run_can_be_repeated(make_trainer, tmp_path, lines_of, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_net.py", "--num-gpus", "1"])
    trainer = make_trainer("SOLVER.MAX_ITER", 1, "SEED", -1)
    trainer.train()
    make_trainer("SOLVER.MAX_ITER", 2, resume=True).train()
    first, again = lines_of(tmp_path / "run/runs.jsonl")
    assert first["command"] == ["train_net.py", "--num-gpus", "1"]
    assert first["seed"] == again["seed"] == trainer._trainer.seed
    assert (first["first_step"], again["first_step"]) == (0, 1)
    assert {"python", "torch", "detectron2", "pycocotools"} <= first["versions"].keys()
    assert (tmp_path / "run/config.yaml").exists()


def test_where_the_peak_of_memory_is_not_known_it_is_left_out(make_trainer, tmp_path, monkeypatch):
    assert 10 < peak_memory() < 2**20
    monkeypatch.setattr(sys.modules["scnet.peak_memory"], "resource", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert peak_memory() is None
    make_trainer("SOLVER.MAX_ITER", 1).train()
    assert "peak_memory_mb" not in (tmp_path / "run/metrics.json").read_text()


def test_the_engine_works_where_there_is_no_module_resource(run):
    """As on Windows."""
    hidden = "import sys; sys.modules['resource'] = None"
    run("-c", f"{hidden}; import scnet.engine, scnet.peak_memory as p; sys.exit(p.peak_memory())")


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_state_of_the_code(tmp_path):
    def git(*args):
        name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        result = subprocess.run(
            ["git", "-C", tmp_path, *name, *args], check=True, capture_output=True, text=True
        )
        return result.stdout.strip()

    file = tmp_path / "__init__.py"
    file.write_text("x = 1\n")
    assert git_state(tmp_path) is None
    git("init")
    assert git_state(tmp_path) is None  # in a repository, but not part of it
    git("add", ".")
    git("commit", "-m", "x")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "changes": ""}
    file.write_text("x = 2\n")
    assert "-x = 1\n+x = 2\n" in git_state(tmp_path)["changes"]


def test_tensorboard_gets_numbers_and_pictures(make_trainer, tmp_path):
    make_trainer("VIS_PERIOD", 2).train()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    wanted = {"total_loss", "lr", "peak_memory_mb", "data_time", "stage2/mask_samples_iou"}
    wanted |= {f"stage{k}/roi_head/num_fg_samples" for k in range(3)}
    assert wanted <= set(scalars)
    assert 0.5 < events.Scalars("stage2/mask_samples_iou")[-1].value <= 1
    for right in ("predictions", "Predicted proposals"):
        (name,) = [x for x in events.Tags()["images"] if x.endswith(f"ight: {right}")]
        images = events.Images(name)
        assert [x.step for x in images] == [0, 2]
        assert images[0].width > 1.5 * images[0].height


def test_weights_and_biases_is_asked_for_but_not_there(tiny_cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tiny_cfg.WANDB.PROJECT = "mine"
    with pytest.raises(ValueError, match="WANDB.PROJECT is 'mine'.*pip install wandb"):
        start_wandb(tiny_cfg)


def test_weights_and_biases_without_network(make_trainer, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    make_trainer("WANDB.PROJECT", "mine", "SOLVER.MAX_ITER", 1).train()
    assert wandb.run.id == (tmp_path / "run/wandb_id").read_text()
    assert list((tmp_path / "run/wandb").glob("offline-run-*"))
    wandb.finish()


@pytest.mark.parametrize("optimizer, ema", [("SGD", False), ("AdamW", False), ("SGD", True)])
def test_the_size_of_a_checkpoint(make_trainer, tmp_path, optimizer, ema):
    options = ["SOLVER.OPTIMIZER", optimizer, "SOLVER.EMA.ENABLED", ema, "SOLVER.MAX_ITER", 1]
    trainer = make_trainer(*options)
    trainer.train()
    size = disk_space.checkpoint_bytes(trainer.trained, trainer.cfg)
    assert size == pytest.approx((tmp_path / "run/model_final.pth").stat().st_size, rel=0.05)


def test_no_room_is_noticed_before_the_training(make_trainer, tmp_path, monkeypatch, caplog):
    size = disk_space.checkpoint_bytes(make_trainer().trained, make_trainer(output="b").cfg)
    for free, output in ((1.9 * size, "c"), (2.1 * size, "d")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda folder, usage=usage: usage)
        if output == "c":
            with pytest.raises(OSError, match=r"c' is on a disk with \d+ MB free.*two must fit"):
                make_trainer(output=output)
        else:
            make_trainer("SOLVER.CHECKPOINT_PERIOD", 1, output=output)
            assert "but the 6 checkpoints of this training will have" in caplog.text


def test_a_folder_that_cannot_be_written_to(make_trainer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="OUTPUT_DIR '.*file/run' cannot be written to"):
        make_trainer(output="file/run")


def test_the_state_of_the_code_may_hold_any_bytes(tmp_path):
    """A changed file of another encoding, or with a name of one, is part of the patch."""

    def git(*args):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *settings, *args], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "__init__.py").write_bytes(b"# caf\xe9\n")
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "__init__.py").write_bytes(b"# caf\xe9s\n")
    state = git_state(tmp_path)
    assert "+# caf\\xe9s" in state["changes"]
    json.dumps(state).encode()
