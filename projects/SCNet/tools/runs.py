"""Several trainings one after the other, each a process of its own, and what they measured."""

import shlex
import signal
import subprocess
import sys
from math import isnan
from pathlib import Path
from statistics import mean, stdev
from typing import Callable, List, Sequence

from scnet.engine.output_dir import traces_of_a_run
from scnet.whole_files import whole_file

RESULTS = "inference/results.json"  # in OUTPUT_DIR
TRAIN = (sys.executable, "-m", "scnet_tools.train_net")


def run(command: List[str], folder: Path, settings: str, done: Callable[[str], bool]) -> None:
    """Run a command unless it has been run, and remember what it was for.

    Args:
        folder: OUTPUT_DIR of the command.
        settings: what the results depend on.
        done: whether the results in the folder are complete.

    Raises:
        FileExistsError: the folder holds results for other settings.
        ChildProcessError: the command failed; its output says why. Or it ended before its end.
        KeyboardInterrupt: it was ended by Ctrl-C.
    """
    memory = folder / "settings.txt"
    there = traces_of_a_run(str(folder)) or (folder / RESULTS).exists()
    if there and memory.exists() and memory.read_text() != settings:
        raise FileExistsError(
            f"'{folder}' holds the results of other settings (see {memory}). Choose another folder."
        )
    if done(str(folder)):
        print(f"== {folder}: done already", flush=True)
        return
    with whole_file(str(memory)) as f:
        f.write(settings)
    print(f"== {folder}\n{shlex.join(command)}", flush=True)
    code = wait_for(command)
    if code in (128 + signal.SIGINT, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise ChildProcessError(f"{folder}: the command above ended with {code}.")
    if not done(str(folder)):
        raise ChildProcessError(
            f"{folder}: the command above was stopped before its end. Start it again to go on."
        )


def wait_for(command: List[str]) -> int:
    """Run a command to its end, which it may have to save something for.

    It gets Ctrl-C from the terminal itself, and SIGTERM from here.

    Returns:
        its exit status.
    """
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def mean_and_deviation(values: Sequence[float]) -> str:
    """The mean of the values that are numbers, and of several ones the standard deviation."""
    values = [x for x in values if not isnan(x)]
    if not values:
        return "–"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
