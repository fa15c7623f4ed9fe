#!/usr/bin/env python
"""Convert a checkpoint of OpenMMLab's SCNet, HTC or Cascade Mask R-CNN for Detectron2, or back.

%(prog)s SRC DST
"""

import io
import os
from argparse import Namespace

from scnet_tools.arguments import ends_on_ctrl_c, make_parser, mistakes_in_one_line


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("source", metavar="SRC", help="the checkpoint to convert")
    add("target", metavar="DST", help="the file to write; it must not exist")
    add("--reverse", action="store_true", help="from Detectron2 to OpenMMLab")
    add("--allow-pickle", action="store_true", help="read files that may run any code thereby")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    import torch

    from scnet.checkpoint.mmdet import convert_mmdet_checkpoint, convert_to_mmdet_checkpoint
    from scnet.whole_files import write_whole

    convert = convert_to_mmdet_checkpoint if args.reverse else convert_mmdet_checkpoint
    with mistakes_in_one_line():
        if os.path.exists(args.target):
            raise FileExistsError(f"'{args.target}' exists already.")
        if not os.path.isdir(os.path.dirname(args.target) or "."):
            raise FileNotFoundError(f"The folder of '{args.target}' does not exist.")
        converted = convert(args.source, args.allow_pickle)
        # In memory, because PyTorch's writer of files does not say which file it could not write.
        content = io.BytesIO()
        torch.save(converted, content)
        write_whole(args.target, content.getvalue())
    print(f"{args.target}: {len(next(iter(converted.values())))} tensors")


if __name__ == "__main__":
    main()
