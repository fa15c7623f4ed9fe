#!/usr/bin/env python
"""Write a model as TorchScript or ONNX, for programs without Detectron2 and this package.

    python projects/SCNet/tools/export.py --config-file C --format onnx --output model.onnx \
        --opts MODEL.WEIGHTS path/to/model.pth

docs/export.md says what goes in and comes out, and how to run the file.
"""

import argparse
import os
import sys

import torch
from torch.nn import functional as F

from scnet.checkpoint import load_model
from scnet.config import read_cfg
from scnet.data.own_data import register_datasets
from scnet.export import WRITERS, Deviation, compare
from scnet.export.runtime import load_exported
from scnet.inference.pytorch_backend import names_of_classes
from scnet.modeling.meta_arch import SCNet

ENDINGS = {"torchscript": ".ts", "onnx": ".onnx"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--format", required=True, choices=sorted(WRITERS))
    parser.add_argument("--output", required=True, metavar="FILE", help="ends in .ts or .onnx")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=("H", "W"),
        help="of the image that the file is verified with (480 640); it takes images of any size",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config, last"
    )
    return parser.parse_args()


def check_output(path: str, model_format: str, overwrite: bool) -> None:
    """
    Raises:
        ValueError: the ending of the file is not that of the format.
        FileExistsError: there is such a file.
        FileNotFoundError: there is no such folder.
    """
    if not path.endswith(ENDINGS[model_format]):
        raise ValueError(
            f"'{path}' must end in {ENDINGS[model_format]} for --format {model_format}: the "
            "ending says how to run it."
        )
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(
            f"'{path}' exists already. Choose another --output, or add --overwrite."
        )
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise FileNotFoundError(f"The folder of '{path}' does not exist.")


def verify(model: SCNet, path: str, height: int, width: int) -> Deviation:
    """How far the file is from the model on a generated image of soft spots of colour."""
    spots = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0)) * 255
    image = F.interpolate(spots, (height, width), mode="bicubic")[0].clamp(0, 255).round()
    with torch.no_grad():
        (expected,) = model([{"image": image, "height": height, "width": width}])
    (found,) = load_exported(path)([image])
    return compare(expected["instances"], found)


def main() -> None:
    args = parse_args()
    check_output(args.output, args.format, args.overwrite)
    if min(args.size) < 1:
        raise ValueError(f"There is no image of --size {args.size[0]} {args.size[1]}.")
    cfg = read_cfg(args.config_file, args.opts)
    register_datasets(cfg, must_exist=False)
    cfg.MODEL.DEVICE = "cpu"  # a trace keeps the device that it was made on
    model = load_model(cfg)
    metadata = {
        "class_names": names_of_classes(model, cfg),
        "input_format": cfg.INPUT.FORMAT,
        "min_size_test": cfg.INPUT.MIN_SIZE_TEST,
        "max_size_test": cfg.INPUT.MAX_SIZE_TEST,
    }
    unverified = os.path.splitext(args.output)[0] + ".unverified" + ENDINGS[args.format]
    WRITERS[args.format](model, unverified, metadata)
    deviation = verify(model, unverified, *args.size)
    print(f"Compared with PyTorch on an image of {args.size[0]} x {args.size[1]}: {deviation}.")
    if deviation.is_large():
        raise ValueError(f"What was written does not do what the model does: '{unverified}'.")
    os.replace(unverified, args.output)
    print(f"{args.output}: {os.path.getsize(args.output) / 1e6:.1f} MB")
    print(
        "Run it in Python, or without this package as docs/export.md shows:\n"
        "    from scnet.export.runtime import load_exported\n"
        f"    (instances,) = load_exported({args.output!r})([image])"
        f"  # image: (3, H, W), {cfg.INPUT.FORMAT}, 0 to 255"
    )


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"export.py: {error}")
