"""A run that goes on with another config in several processes, for test_distributed.py.

python going_on_together.py PROCESSES FOLDER: the first process reads and writes config.yaml, and
the others neither; a refusal is the same sentence in all of them.
"""

import argparse
import sys
from pathlib import Path

import torch
from detectron2.engine import launch
from detectron2.utils import comm

from scnet import get_config_file
from scnet.data.own_data import ARGUMENTS
from scnet.engine import setup


def arguments(folder, *opts, config_file="", resume=True):
    return argparse.Namespace(
        config_file=config_file or get_config_file("quickstart.yaml"),
        opts=["OUTPUT_DIR", str(folder), "MODEL.DEVICE", "cpu", *opts],
        resume=resume,
        eval_only=False,
        **dict.fromkeys(("val_fraction", "epochs", "batch", "lr")),
        **dict.fromkeys(ARGUMENTS, ()),
    )


def main(folder):
    torch.set_num_threads(1)
    config, opened = Path(folder, "config.yaml"), []

    def note(event, arguments):
        if event in ("open", "os.rename") and Path(str(arguments[0])).name.startswith(config.name):
            opened.append(arguments)

    sys.addaudithook(note)
    setup(arguments(folder, resume=False))
    if comm.is_main_process():
        Path(folder, "metrics.json").write_text("{}\n")
    comm.synchronize()
    for rate in ("0.1", "0.2", "0.3"):
        setup(arguments(folder, "SOLVER.BASE_LR", rate))
    assert bool(opened) == comm.is_main_process(), opened
    comm.synchronize()
    # The file itself is given: each process reads it, and the first one replaces it.
    setup(arguments(folder, "SOLVER.BASE_LR", "0.4", config_file=str(config)))
    try:
        setup(arguments(folder, "MODEL.SCNET.FEATURE_RELAY", "False"))
    except FileExistsError as error:
        sentences = comm.all_gather(str(error))
        assert len(set(sentences)) == 1 and "FEATURE_RELAY differ" in sentences[0], sentences
        if comm.is_main_process():
            print(f"{len(sentences)} processes were refused", flush=True)


if __name__ == "__main__":
    launch(main, int(sys.argv[1]), dist_url="auto", args=(sys.argv[2],))
