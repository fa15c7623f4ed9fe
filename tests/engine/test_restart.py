"""torchrun starts the processes again when one has died, and the run goes on."""

import pytest
import torch

from helpers import REPOSITORY, command

pytestmark = pytest.mark.slow
SCRIPT = REPOSITORY / "tests/engine/restarted.py"
OPTIONS = [
    *("SEED", 4, "SOLVER.MAX_ITER", 5, "SOLVER.STEPS", "()", "SOLVER.CHECKPOINT_PERIOD", 2),
    *("DATASETS.TEST", "()"),
]


def test_a_restarted_run_goes_on_exactly(run_forked, environment, tmp_path):
    """From the last checkpoint, after a process was killed in the fourth of five steps."""

    def train(script, output, *flags):
        arguments = command(tmp_path / output, *OPTIONS, flags=flags)
        log = run_forked(script, *arguments, env=environment).stdout
        return log, torch.load(tmp_path / output / "model_final.pth", weights_only=True)["model"]

    log, killed = train(SCRIPT, "killed", "--resume")
    assert log.count("Starting training from iteration 0") == 1
    assert log.count("Starting training from iteration 2") == 1
    _, whole = train("train_net.py", "whole", "--num-gpus", 2, "--dist-url", "auto")
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_without_resume_a_restart_is_refused(run_forked, environment, tmp_path):
    arguments = command(tmp_path / "killed", *OPTIONS)
    result = run_forked(SCRIPT, *arguments, env=environment, check=False)
    assert result.returncode
    assert "holds a run already" in result.stdout and "Continue it with --resume" in result.stdout
