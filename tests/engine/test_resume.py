"""A run that was interrupted goes on as if it had not been."""

import json
import os
import signal

import pytest
import torch
from detectron2.engine import HookBase

from helpers import REPOSITORY
from narrow_backbones import BACKBONES, backbone_opts, of_timm
from scnet.modeling.class_metadata import make_metadata

# More for a soak: SCNET_KILLS=20 pytest tests/engine/test_resume.py
KILLS = int(os.environ.get("SCNET_KILLS", 3))

pytestmark = pytest.mark.slow


def steps_of(path):
    """Iteration -> losses; a step that was repeated must have had the same."""
    steps = {}
    for line in path.read_text().splitlines():
        try:
            iteration, losses = json.loads(line)
        except json.JSONDecodeError:
            continue  # killed while it was written
        assert steps.setdefault(iteration, losses) == losses
    return steps


def assert_equal(one, two, where=""):
    """The same bits, in nested dicts and lists."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_equal(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where


def load(path):
    return torch.load(path / "model_final.pth", weights_only=True)


def test_killed_at_random_moments(environment, run_forked, tmp_path):
    """With moving averages, mixed precision, accumulation, evaluation and a worker for the data."""
    script = REPOSITORY / "tests/engine/interrupted.py"
    result = run_forked(script, tmp_path, KILLS, env=environment)
    print(result.stdout)
    whole = steps_of(tmp_path / "whole/steps.jsonl")
    killed = [p for p in tmp_path.glob("killed*") if p.is_dir()]
    assert len(whole) == 12 and killed
    for folder in killed:
        steps = steps_of(folder / "steps.jsonl")
        steps.setdefault(11, whole[11])  # killed after its checkpoint, before it was written down
        assert steps == whole
        assert_equal(load(folder), load(tmp_path / "whole"))


def assert_exact_from_the_third_step(make_trainer, tmp_path, opts):
    """A run of four steps, which goes on from the checkpoint of its third, ends as before."""
    whole = make_trainer(*opts)
    whole.train()
    final = load(tmp_path / "run")
    (tmp_path / "run/last_checkpoint").write_text("model_0000002.pth")
    (tmp_path / "run/model_final.pth").unlink()
    again = make_trainer(*opts, resume=True)
    again.train()
    assert again.losses == {3: whole.losses[3]}
    assert_equal(load(tmp_path / "run"), final)


RECIPE = [  # docs/recipes.md
    *("INPUT.LARGE_SCALE_JITTER.ENABLED", True, "INPUT.LARGE_SCALE_JITTER.SIZE", 96),
    *("INPUT.COLOR_JITTER", 0.2, "INPUT.COPY_PASTE", 0.5, "SOLVER.OPTIMIZER", "AdamW"),
    *("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
    *("DATALOADER.REPEAT_THRESHOLD", 0.9, "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"),
    *("SOLVER.EMA.ENABLED", True, "DATALOADER.NUM_WORKERS", 1),
]


# Computed in the run of four steps after two of them as well.
PRECISE_BN = [
    *("TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 2, "TEST.EVAL_PERIOD", 2),
    *("SOLVER.GRADIENT_ACCUMULATION", 2),
]


@pytest.mark.parametrize("more", [[], RECIPE, PRECISE_BN], ids=["", "recipe", "precise_bn"])
def test_a_checkpoint_is_enough(make_trainer, tmp_path, more):
    """Also for the seed, if none was given; and at a step that is no multiple of anything."""
    opts = ["SEED", -1, "SOLVER.CHECKPOINT_PERIOD", 3, *more]
    assert_exact_from_the_third_step(make_trainer, tmp_path, opts)


@pytest.mark.parametrize("name", ["swin", "vit", "convnext"])
def test_other_backbones_go_on_exactly(make_trainer, tmp_path, name):
    """With drop path, whose random numbers follow from the step, and rates of each layer."""
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    keys = of_timm("test_convnext", DROP_PATH=0.5) if name == "convnext" else BACKBONES[name]
    opts = [*backbone_opts(keys, BACKBONE__FREEZE_AT=0), "SOLVER.LAYER_DECAY", 0.8]
    opts += ["SOLVER.CHECKPOINT_PERIOD", 3, "SOLVER.CHANNELS_LAST", True]
    assert_exact_from_the_third_step(make_trainer, tmp_path, opts)


def test_killed_before_the_final_checkpoint(make_trainer, tmp_path):
    """The checkpoint of the last step is there, its other name is not."""
    make_trainer("SOLVER.CHECKPOINT_PERIOD", 2).train()
    final = load(tmp_path / "run")
    (tmp_path / "run/model_final.pth").unlink()
    (tmp_path / "run/last_checkpoint").write_text("model_0000003.pth")
    again = make_trainer("SOLVER.CHECKPOINT_PERIOD", 2, resume=True)
    again.train()
    assert not again.losses
    assert_equal(load(tmp_path / "run"), final)


def save_with_other_names(trainer, name):
    """Save a checkpoint as that of a run for other classes, of the same number."""
    names = ["cat", *trainer.result.metadata.thing_classes[1:]]
    trainer.result.metadata = make_metadata({"thing_classes": names})
    trainer.checkpointer.save(name, iteration=0)


def test_killed_before_the_first_checkpoint(make_trainer, tmp_path):
    """The weights that it starts from again may be for other classes than the run's."""
    save_with_other_names(make_trainer(output="other"), "start")
    opts = ["MODEL.WEIGHTS", str(tmp_path / "other/start.pth")]
    make_trainer(*opts)
    (tmp_path / "run/metrics.json").write_text("{}\n")
    with pytest.raises(FileExistsError, match="run' holds a run already"):
        make_trainer(*opts)
    assert make_trainer(*opts, resume=True).start_iter == 0


def test_going_on_with_other_classes_is_refused(make_trainer):
    save_with_other_names(make_trainer(), "model_0000000")
    with pytest.raises(ValueError, match="for the classes .'cat',.* training data now has"):
        make_trainer(resume=True)


@pytest.mark.parametrize("key, values", [("SEED", (3, 3, 4)), ("DATALOADER.NUM_WORKERS", (0, 2))])
def test_the_seed_alone_decides(make_trainer, key, values):
    losses = []
    for k, value in enumerate(values):
        trainer = make_trainer(key, value, "SOLVER.MAX_ITER", 2, output=str(k))
        trainer.train()
        losses.append(trainer.losses)
    assert losses[0] == losses[1]
    assert all(x != losses[0] for x in losses[2:])


class SendSignal(HookBase):
    def __init__(self, iteration, number):
        self.iteration, self.number = iteration, number

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_the_training_after_a_checkpoint(make_trainer, tmp_path, caplog, name):
    number = getattr(signal, name)
    whole = make_trainer(output="whole")
    whole.train()
    handler = signal.getsignal(number)
    stopped = make_trainer()
    stopped.register_hooks([SendSignal(1, number)])
    stopped.train()
    assert f"Stopped by {name} after iteration 1" in caplog.text
    assert stopped.stopped_by == number and whole.stopped_by is None
    assert signal.getsignal(number) == handler
    assert sorted(stopped.losses) == [0, 1]
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000001.pth"
    goes_on = make_trainer(resume=True)
    goes_on.train()
    assert {**stopped.losses, **goes_on.losses} == whole.losses
    assert_equal(load(tmp_path / "run"), load(tmp_path / "whole"))


def test_the_second_ctrl_c_ends_it_at_once(make_trainer, capsys):
    class Twice(HookBase):
        def before_step(self):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    trainer = make_trainer()
    trainer.register_hooks([Twice()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert "Press Ctrl-C again" in capsys.readouterr().err
    assert not trainer.losses


@pytest.mark.parametrize("named", [None, "model_0000009.pth"])
def test_the_newest_checkpoint_is_found_where_none_is_named(make_trainer, tmp_path, caplog, named):
    """last_checkpoint is lost, or names a file that is."""
    opts = ["SOLVER.CHECKPOINT_PERIOD", 1]
    whole = make_trainer(*opts)
    whole.train()
    final = load(tmp_path / "run")
    for lost in ("model_final.pth", "model_0000003.pth", "last_checkpoint"):
        (tmp_path / "run" / lost).unlink()
    if named:
        (tmp_path / "run/last_checkpoint").write_text(named)
    again = make_trainer(*opts, resume=True)
    assert again.start_iter == 3 and "The newest checkpoint there is" in caplog.text
    again.train()
    assert again.losses == {3: whole.losses[3]}
    assert_equal(load(tmp_path / "run"), final)
    # Of two, the one with more iterations.
    (tmp_path / "run/last_checkpoint").unlink()
    assert again.checkpointer.get_checkpoint_file().endswith("model_final.pth")
    final["iteration"] = 1
    torch.save(final, tmp_path / "run/model_final.pth")
    assert again.checkpointer.get_checkpoint_file().endswith("model_0000003.pth")


@pytest.mark.parametrize("name", ["model_0000001.pth", "model_best.pth"])
def test_any_checkpoint_makes_a_run(make_trainer, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"not to be written over")
    with pytest.raises(FileExistsError, match=f"holds a run already .{name}."):
        make_trainer()


def test_a_checkpoint_without_averages_cannot_go_on_with_them(make_trainer, tmp_path):
    make_trainer("SOLVER.MAX_ITER", 1).train()
    with pytest.raises(ValueError, match="model_final.pth': it has no 'training_model'"):
        make_trainer("SOLVER.EMA.ENABLED", True, resume=True)
    make_trainer("SOLVER.EMA.ENABLED", True, "SOLVER.MAX_ITER", 1, output="ema").train()
    with pytest.raises(ValueError, match="would lose its 'training_model'"):
        make_trainer(output="ema", resume=True)


OTHERS = ["SOLVER.BASE_LR", 0.125, "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.MOMENTUM", 0.25]


def hyperparameters(trainer):
    """Of each group of parameters of the optimizer."""
    return [{k: v for k, v in g.items() if k != "params"} for g in trainer.optimizer.param_groups]


def state_by_name(trainer):
    """The optimizer's state of each parameter, whatever group it is in."""
    names = {parameter: name for name, parameter in trainer.trained.named_parameters()}
    return {names[p]: state for p, state in trainer.optimizer.state.items()}


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_going_on_with_other_hyperparameters(make_trainer, kind, caplog):
    """They are those of a new training with these values; the momentum is that of the run.

    AdamW has one group of parameters before and two afterwards: weight decay is another for norms.
    """
    half = ["SOLVER.OPTIMIZER", kind, "SOLVER.MAX_ITER", 2]
    began = make_trainer(*half, "SOLVER.BASE_LR", 0.0625)
    began.train()
    opts = ["SOLVER.OPTIMIZER", kind, *OTHERS, "SOLVER.STEPS", (3,), "SOLVER.WARMUP_ITERS", 0]
    with caplog.at_level("INFO"):
        again = make_trainer(*opts, resume=True)
        assert again.start_iter == 2
        fresh = make_trainer(*opts, output="fresh")
        assert hyperparameters(again) == hyperparameters(fresh)
        assert again.optimizer.param_groups[0]["lr"] == 0.125
        assert_equal(state_by_name(again), state_by_name(began))
        again.train()
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(0.0125)
    assert caplog.text.count("learning rate 0.0625 -> 0.125") == 1
    assert "weight decay 0.0001 -> 0.5" in caplog.text
    assert ("momentum 0.9 -> 0.25" in caplog.text) == (kind == "SGD")
    assert "iterations 2 to 3, learning rate 0.125 at 2, 0.0125 at 3" in caplog.text


def test_a_lower_learning_rate_takes_smaller_steps(make_trainer):
    """What the errors advise after a loss that is not finite."""
    make_trainer("SOLVER.MAX_ITER", 2).train()
    again = make_trainer("SOLVER.MAX_ITER", 3, "SOLVER.BASE_LR", 0.0, resume=True)
    before = {k: v.detach().clone() for k, v in again.trained.named_parameters()}
    again.train()
    assert_equal({k: v.detach() for k, v in again.trained.named_parameters()}, before)


def test_going_on_with_clipped_gradients(make_trainer):
    make_trainer("SOLVER.MAX_ITER", 2).train()
    clip = ["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1e-6]
    again = make_trainer("SOLVER.MAX_ITER", 3, *clip, resume=True)
    again.train()
    gradients = [p.grad.abs().max() for p in again.trained.parameters() if p.grad is not None]
    assert 0 < max(gradients) <= 1.001e-6


def test_going_on_with_what_does_not_fit_is_refused(make_trainer):
    make_trainer("SOLVER.MAX_ITER", 1).train()
    with pytest.raises(ValueError, match="SOLVER.OPTIMIZER is 'SGD', but .* with 'AdamW'"):
        make_trainer("SOLVER.OPTIMIZER", "SGD", resume=True)
    with pytest.raises(ValueError, match="trained other parameters .*bottom_up.stem.*FREEZE_AT"):
        make_trainer("MODEL.BACKBONE.FREEZE_AT", 1, resume=True)


def remove_names(folder):
    """Make a checkpoint like those that do not name the parameters of the optimizer."""
    content = load(folder)
    for group in content["trainer"]["_trainer"]["optimizer"]["param_groups"]:
        del group["param_names"]
    torch.save(content, folder / "model_final.pth")


def test_checkpoints_without_names_of_parameters(make_trainer, tmp_path):
    began = make_trainer("SOLVER.MAX_ITER", 1)
    began.train()
    remove_names(tmp_path / "run")
    again = make_trainer("SOLVER.BASE_LR", 0.5, resume=True)
    assert_equal(state_by_name(again), state_by_name(began))
    assert {group["initial_lr"] for group in again.optimizer.param_groups} == {0.5}
    with pytest.raises(ValueError, match="does not name.*SOLVER.WEIGHT_DECAY.*BIAS_LR_FACTOR"):
        make_trainer("SOLVER.BIAS_LR_FACTOR", 2.0, resume=True)


def test_another_seed_is_not_used(make_trainer, caplog):
    make_trainer("SOLVER.MAX_ITER", 1).train()
    assert make_trainer("SEED", 3, resume=True)._trainer.seed == 3
    assert make_trainer("SEED", -1, resume=True)._trainer.seed == 3
    assert "SEED" not in caplog.text
    assert make_trainer("SEED", 5, resume=True)._trainer.seed == 3
    assert "SEED 5 is not used: the run goes on with its own, 3." in caplog.text


def test_another_number_of_processes_is_said(make_trainer, monkeypatch, caplog):
    make_trainer("SOLVER.MAX_ITER", 1).train()
    path = "detectron2.utils.comm.get_world_size"
    trainer = make_trainer(output="two")
    state = torch.load(trainer.cfg.OUTPUT_DIR.replace("two", "run") + "/model_final.pth")
    monkeypatch.setattr(path, lambda: 2)
    trainer._trainer.load_state_dict(state["trainer"]["_trainer"])
    assert "goes on with 2 processes; before it had 1" in caplog.text


def test_checkpoints_in_the_background(make_trainer, tmp_path):
    """They are those of a training that waits for them, and all there when it ends."""
    for output, in_background in (("run", False), ("other", True)):
        opts = ["SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_IN_BACKGROUND", in_background]
        trainer = make_trainer(*opts, output=output)
        trainer.train()
        assert trainer.checkpointer._writing is None
    for name in ("model_0000001.pth", "model_0000003.pth", "model_final.pth"):
        run, other = (torch.load(tmp_path / x / name) for x in ("run", "other"))
        assert_equal(run, other)


def test_a_training_ends_when_the_background_cannot_write(make_trainer, monkeypatch):
    """At the next step, not at the next checkpoint."""
    opts = ["SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.MAX_ITER", 50]
    trainer = make_trainer(*opts, "SOLVER.CHECKPOINT_IN_BACKGROUND", True)
    checkpointer = trainer.checkpointer
    save = checkpointer.save

    def save_and_wait(*args, **kwargs):
        save(*args, **kwargs)
        checkpointer._thread.shutdown()

    monkeypatch.setattr(checkpointer, "save", save_and_wait)
    monkeypatch.setattr("os.replace", lambda *args: os.stat("gone"))
    with pytest.raises(OSError, match="Cannot write the checkpoint 'model_0000001.pth'"):
        trainer.train()
    assert list(trainer.losses) == [0, 1]
