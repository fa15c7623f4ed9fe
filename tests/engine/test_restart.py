"""torchrun starts the processes again when one has died, and the run goes on."""

import os

import torch

from helpers import REPOSITORY, command

OPTIONS = [
    *("SEED", 4, "SOLVER.MAX_ITER", 5, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2),
    *("DATASETS.TEST", "()"),
]
SCRIPT = REPOSITORY / "tests/engine/restarted.py"


def train(run, environment, script, output, *flags, check=True):
    path = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    return run(
        *(*torchrun, "--max-restarts", 1, script, *command(output, *OPTIONS, flags=flags)),
        env={**environment, "PYTHONPATH": path},
        check=check,
    )


def test_a_restarted_run_goes_on_exactly(run, environment, tmp_path):
    """From the last checkpoint, after a process was killed in the fourth of five steps."""
    log = train(run, environment, SCRIPT, tmp_path / "killed", "--resume").stdout
    assert log.count("Starting training from iteration 0") == 1
    assert log.count("Starting training from iteration 2") == 1
    train(run, environment, "train_net.py", tmp_path / "whole")
    killed, whole = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"]
        for name in ("killed", "whole")
    )
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_without_resume_a_restart_is_refused(run, environment, tmp_path):
    result = train(run, environment, SCRIPT, tmp_path / "killed", check=False)
    assert result.returncode
    assert "holds a run already" in result.stdout and "Continue it with --resume" in result.stdout
