"""The command ``scnet``: its first word chooses a tool, which gets the words after it."""

import sys
from argparse import ArgumentParser
from importlib import import_module, metadata

# name -> the tool, a module of this folder, and what it does
COMMANDS = {
    "train": ("train_net", "train a model, on COCO or on your own data"),
    "eval": ("evaluate", "evaluate a trained model"),
    "predict": ("predict", "find objects in images, folders, videos and what a camera sees"),
    "demo": ("demo", "open a page where one drops an image and sees what a model finds"),
    "check": ("check_dataset", "list the problems of your data, and draw it"),
    "export": ("export", "write a model as ONNX or TorchScript"),
    "push": ("push", "share a trained model on Hugging Face, or write a folder of it"),
    "compare": ("compare", "draw what several models find, side by side"),
    "convert": ("convert_mmdet_checkpoint", "convert a checkpoint of OpenMMLab's, or back"),
    "doctor": ("doctor", "say what is installed here, what works, and what to install"),
    "benchmark": ("benchmark", "measure speed and memory, part by part"),
    "gpu-report": ("gpu_report", "test and measure your GPU"),
    "reproduce": ("reproduce", "train and evaluate the rows of a table of the paper"),
    "iou-distribution": ("iou_distribution", "draw Figure 1 of the paper: how well the boxes fit"),
}


def main() -> None:
    """Start a tool as if it were a program of its own, called "scnet NAME"."""
    parser = ArgumentParser("scnet", description="SCNet: instance segmentation with Detectron2.")
    version = f"scnet {metadata.version('detectron2-scnet')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        required=True,
        title="commands",
        description="'scnet COMMAND --help' says what follows.",
    )
    for name, (_, sentence) in COMMANDS.items():
        commands.add_parser(name, help=sentence)
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv = [f"scnet {command}", *sys.argv[2:]]  # help and messages name it so
    import_module(f"scnet_tools.{COMMANDS[command][0]}").main()


if __name__ == "__main__":
    main()
