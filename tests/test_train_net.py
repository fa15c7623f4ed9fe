"""train_net.py, run as a user runs it."""

import json
import re
import time

import pytest
import torch

from helpers import command
from processes import start

pytestmark = pytest.mark.slow


def losses(output):
    """Iteration -> total loss, from metrics.json."""
    lines = [json.loads(x) for x in (output / "metrics.json").read_text().splitlines()]
    return {x["iteration"]: x["total_loss"] for x in lines if "total_loss" in x}


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory, run):
    """Four iterations, a checkpoint after two."""
    output = tmp_path_factory.mktemp("run") / "output"
    schedule = ["SOLVER.MAX_ITER", 4, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2]
    result = run("train_net.py", *command(output, *schedule), env=environment)
    return output, result.stdout


def test_training_leaves_what_detectron2_leaves(trained):
    output, log = trained
    names = {p.name for p in output.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "last_checkpoint"} <= names
    assert {"model_0000001.pth", "model_final.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert "eta: " in log and "loss_mask: " in log and "loss_global_context: " in log
    inference = {p.name for p in (output / "inference").iterdir()}
    assert {"coco_instances_results.json", "results.md", "results.json"} <= inference
    results = json.loads((output / "inference/results.json").read_text())
    assert set(results["scnet_shapes_val"]) == {"bbox", "segm"}


def test_augmentation_is_evaluated_beside_plain_inference(
    trained, environment, run_forked, tmp_path
):
    """At another scale the boxes are others; tests/test_tta.py has what they must be."""
    output, _ = trained
    options = ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "(160,)", "TEST.AUG.FLIP", False]
    weights = ["MODEL.WEIGHTS", output / "model_final.pth"]
    run_forked(
        "train_net.py",
        *command(tmp_path, *weights, *options, flags=["--eval-only"]),
        env=environment,
    )
    folders = [tmp_path / name for name in ("inference", "inference_TTA")]
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    assert all(set(x["scnet_shapes_val"]) == {"bbox", "segm"} for x in results)
    name = "coco_instances_results.json"
    plain, augmented = (json.loads((folder / name).read_text()) for folder in folders)
    assert {x["image_id"] for x in plain} == {x["image_id"] for x in augmented}
    assert [x["bbox"] for x in plain] != [x["bbox"] for x in augmented]


def test_evaluation_alone_gives_the_same_numbers(trained, environment, run_forked, tmp_path):
    """With nothing but the weights: the config lies beside them."""
    output, _ = trained
    weights = ["--weights", output / "model_final.pth"]
    run_forked("-m", "scnet_tools", "eval", *weights, "--output", tmp_path, env=environment)
    before, again = (
        json.loads((folder / "inference/results.json").read_text()) for folder in (output, tmp_path)
    )
    assert again == before


def test_a_second_run_does_not_overwrite_the_first(trained, environment, run_forked):
    output, _ = trained
    before = (output / "model_final.pth").read_bytes()
    result = run_forked("train_net.py", *command(output), env=environment, check=False)
    assert result.returncode != 0
    assert "holds a run already" in result.stdout
    assert (output / "model_final.pth").read_bytes() == before


def test_resume_continues_after_the_last_checkpoint(trained, environment, run_forked, tmp_path):
    output, _ = trained
    schedule = ["SOLVER.MAX_ITER", 6, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2]
    result = run_forked(
        "train_net.py", *command(output, *schedule, flags=["--resume"]), env=environment
    )
    assert "Starting training from iteration 4" in result.stdout
    state = torch.load(output / "model_final.pth", weights_only=False)
    assert state["iteration"] == 5
    assert state["trainer"]["_trainer"]["optimizer"]["state"]


def test_a_killed_run_resumes(environment, run_forked, tmp_path):
    schedule = ["SOLVER.MAX_ITER", 4000, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2]
    arguments = ["train_net.py", *command(tmp_path, *schedule)]
    process = start(*arguments, log=tmp_path / "printed", env=environment)
    deadline = time.time() + 300
    while not (tmp_path / "model_0000003.pth").exists():
        assert process.is_alive() and time.time() < deadline
        time.sleep(0.1)
    process.kill()
    process.join()
    last = (tmp_path / "last_checkpoint").read_text()
    done = int(re.search(r"model_(\d+)", last)[1]) + 1

    schedule[1] = done + 2
    result = run_forked(
        "train_net.py", *command(tmp_path, *schedule, flags=["--resume"]), env=environment
    )
    assert f"Starting training from iteration {done}" in result.stdout
    assert max(losses(tmp_path)) == done + 1


def test_a_missing_config_key_is_named(environment, run_forked, tmp_path):
    result = run_forked(
        "train_net.py",
        *command(tmp_path, "MODEL.SCNET.NO_SUCH_KEY", 1),
        env=environment,
        check=False,
    )
    assert result.returncode != 0
    assert "NO_SUCH_KEY" in result.stdout


def test_a_wrong_number_of_classes_is_refused_before_training(environment, run_forked, tmp_path):
    result = run_forked(
        "train_net.py",
        *command(tmp_path, "MODEL.ROI_HEADS.NUM_CLASSES", 3),
        env=environment,
        check=False,
    )
    assert result.returncode != 0
    assert "has 5 classes" in result.stdout and "NUM_CLASSES 3" in result.stdout
