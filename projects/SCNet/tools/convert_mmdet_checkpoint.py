#!/usr/bin/env python
"""Convert a checkpoint of OpenMMLab's SCNet, HTC or Cascade Mask R-CNN for Detectron2, or back.

python projects/SCNet/tools/convert_mmdet_checkpoint.py SRC DST
"""

import argparse
import os
import sys

import torch

from scnet.checkpoint.mmdet import convert_mmdet_checkpoint, convert_to_mmdet_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SRC", help="the checkpoint to convert")
    parser.add_argument("target", metavar="DST", help="the file to write; it must not exist")
    parser.add_argument("--reverse", action="store_true", help="from Detectron2 to OpenMMLab")
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read files that may run any code while they are read",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if os.path.exists(args.target):
        raise FileExistsError(f"'{args.target}' exists already.")

    if args.reverse:
        content = torch.load(args.source, map_location="cpu", weights_only=not args.allow_pickle)
        converted = convert_to_mmdet_checkpoint(content)
    else:
        converted = convert_mmdet_checkpoint(args.source, args.allow_pickle)
    temporary = args.target + ".part"
    torch.save(converted, temporary)
    os.replace(temporary, args.target)
    print(f"{args.target}: {len(next(iter(converted.values())))} tensors")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"convert_mmdet_checkpoint.py: {error}")
