"""Several processes on the CPU."""

import json
import os
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml

from helpers import REPOSITORY, command, free_port
from processes import start

pytestmark = pytest.mark.slow
TWO = ["--num-gpus", 2, "--dist-url", "auto"]  # at a port that no other training has


def test_no_parameter_is_left_out_where_there_is_nothing_to_learn(run_forked):
    """In all configs, whichever of two processes has no objects and no semantic labels."""
    result = run_forked(REPOSITORY / "tests/engine/empty_processes.py")
    assert len([x for x in result.stdout.splitlines() if x.endswith(" losses")]) > 10


def test_two_processes_of_one_image_are_one_process_of_two(run_forked, tmp_path):
    """Gradients of the first step and weights after 20, with unequally many samples."""
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pth"
        run_forked(REPOSITORY / "tests/engine/steps.py", processes, output)
    one, two = (torch.load(tmp_path / f"{n}.pth", weights_only=True) for n in (1, 2))
    assert one["losses"].keys() == two["losses"].keys()
    for name, gradient in one["gradients"].items():
        scale = gradient.abs().max() + 1e-6
        assert (two["gradients"][name] - gradient).abs().max() < 1e-6 * scale, name
    for name, move in one["moves"].items():
        scale = move.abs().max() + 1e-6
        assert (two["moves"][name] - move).abs().max() < 1e-4 * scale, name
    assert sum(bool(move.any()) for move in one["moves"].values()) > 100


def test_one_process_reads_the_data(run_forked, coco_set, tmp_path):
    (tmp_path / "temporary").mkdir()
    env = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    paths = coco_set.json_file, coco_set.images
    result = run_forked(REPOSITORY / "tests/engine/reading.py", *paths, env=env)
    lines = result.stdout.splitlines()
    first, second = (json.loads(x[8:]) for x in lines if x.startswith("process "))
    assert (first.pop("reads"), second.pop("reads")) == (1, 0)
    assert first == second
    assert first["classes"] == ["cat", "dog"] and first["num_classes"] == 2
    assert first["error"] == "ValueError: It cannot be read."
    assert not list((tmp_path / "temporary").glob("scnet_*"))


SCHEDULE = ["SOLVER.MAX_ITER", 4, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2]


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory, run):
    """Two processes, four iterations; evaluated by both."""
    output = tmp_path_factory.mktemp("distributed") / "output"
    opts = [*SCHEDULE, "TEST.REPORT", True, "TEST.LOSS", True]
    result = run("train_net.py", *command(output, *opts, flags=TWO), env=environment)
    return output, result.stdout


def results_of(output):
    return json.loads((output / "inference/results.json").read_text())


def detections_of(output):
    return json.loads((output / "inference/coco_instances_results.json").read_text())


def test_training_runs_in_two_processes_without_gpus(trained):
    output, log = trained
    assert "Rank of current process: 0. World size: 2" in log
    assert (output / "model_final.pth").exists() and (output / "log.txt.rank1").exists()


def test_one_of_two_processes_writes_the_report(trained):
    """Of the detections of both; whole, and nothing beside it."""
    output, log = trained
    written = [line for line in log.splitlines() if "Report: " in line]
    assert len(written) == 1 and str(output / "report.html") in written[0], log[-3000:]
    assert [path.name for path in output.iterdir() if "report" in path.name] == ["report.html"]
    page = (output / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert f", {len(detections_of(output))} detections. All numbers" in page
    assert 'aria-label="loss over iterations"' in page and "validation" in page


def test_two_processes_evaluate_as_one(trained, environment, run_forked, tmp_path):
    output, _ = trained
    opts = ["MODEL.WEIGHTS", output / "model_final.pth"]
    for name, flags in (("1", []), ("2", TWO)):
        flags = ["--eval-only", *flags]
        run_forked("train_net.py", *command(tmp_path / name, *opts, flags=flags), env=environment)
    one, two = (results_of(tmp_path / str(n)) for n in (1, 2))
    assert one == two == results_of(output)
    # So small a model finds nothing, and its AP says little: look at what it is computed from.
    one, two = (detections_of(tmp_path / str(n)) for n in (1, 2))
    assert one == two == detections_of(output)
    assert len({x["image_id"] for x in one}) > 3  # of 6, so of both processes


def test_two_processes_resume_exactly(trained, environment, run_forked, tmp_path):
    """Each has random numbers of its own, which no checkpoint holds."""
    output = shutil.copytree(trained[0], tmp_path / "output")
    final = output / "model_final.pth"
    whole = torch.load(final, weights_only=True)["model"]
    final.unlink()
    (output / "last_checkpoint").write_text("model_0000001.pth")
    flags = [*TWO, "--resume"]
    result = run_forked("train_net.py", *command(output, *SCHEDULE, flags=flags), env=environment)
    assert "Starting training from iteration 2" in result.stdout
    again = torch.load(final, weights_only=True)["model"]
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_several_processes_go_on_with_another_config(run_forked, tmp_path):
    """One of them renames config.yaml, which the others may not see half-way."""
    script = REPOSITORY / "tests/engine/going_on_together.py"
    result = run_forked(script, 3, tmp_path / "run")
    assert "3 processes were refused" in result.stdout
    former = [(tmp_path / f"run/config.yaml.{k}").read_text() for k in (1, 2, 3, 4)]
    rates = [yaml.safe_load(text)["SOLVER"]["BASE_LR"] for text in former[1:]]
    assert rates == [0.1, 0.2, 0.3]
    assert not (tmp_path / "run/config.yaml.5").exists()


def test_two_processes_end_together_at_a_broken_image(
    environment, make_trainer, run_forked, tmp_path
):
    """The second one meets it, the first one writes the checkpoint, and both say why."""
    fixed = ["SEED", 3, "DATALOADER.ASPECT_RATIO_GROUPING", False]
    loader = make_trainer(*fixed, output="order").data_loader
    loader.seed = 3
    batches = [[x["file_name"] for x in batch] for batch in islice(loader, 3)]
    met = Path(batches[2][1])
    assert met not in map(Path, batches[0] + batches[1])
    cache = shutil.copytree(environment["FVCORE_CACHE"], tmp_path / "cache")
    (cache / met.relative_to(environment["FVCORE_CACHE"])).write_bytes(b"")
    output = tmp_path / "run"
    opts = [*fixed, "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", "()", "DATASETS.TEST", "()"]
    result = run_forked(
        "train_net.py",
        *command(output, *opts, flags=TWO),
        env={**environment, "FVCORE_CACHE": str(cache)},
        check=False,
    )
    assert result.returncode == 1
    sentences = [x for x in result.stdout.splitlines() if x.startswith("train_net.py: ")]
    assert len([x for x in sentences if met.name in x]) == 2, result.stdout[-3000:]
    assert "Traceback" not in result.stdout
    assert (output / "last_checkpoint").read_text() == "model_0000001.pth"


def test_two_machines_meet_at_an_address(environment, tmp_path):
    """Two commands with one process each, on the loopback."""
    opts = ["SOLVER.MAX_ITER", 1, "SOLVER.STEPS", "()"]
    url = f"tcp://127.0.0.1:{free_port()}"
    machines = []
    for rank in range(2):
        flags = ["--num-machines", 2, "--machine-rank", rank, "--dist-url", url]
        arguments = ["train_net.py", *command(tmp_path, *opts, flags=flags)]
        machines.append(start(*arguments, log=tmp_path / f"machine{rank}", env=environment))
    for machine in machines:
        machine.join(600)
    outputs = [(tmp_path / f"machine{rank}").read_text() for rank in range(2)]
    status = [machine.exitcode for machine in machines]
    assert status == [0, 0], outputs[0][-2000:] + outputs[1][-2000:]
    assert "World size: 2" in outputs[0]
    assert (tmp_path / "model_final.pth").exists()
