#!/usr/bin/env python
"""Read a data set as training would, and report what is wrong with it.

    %(prog)s --config C \
        --train-json A --train-images D --val-json B --val-images E --output FOLDER
    %(prog)s --from yolo FOLDER --to coco.json

Takes the arguments of a training. FOLDER gets report.md, and a contact sheet per data set: its
images with their annotations, those with problems first. The exit status is 1 if training would
fail or learn something wrong.

--from reads annotations in the format of a labelling tool, writes them as COCO json, says what is
not in it, and checks that file.
"""

import os
import shlex
import sys
from argparse import REMAINDER, Namespace
from tempfile import TemporaryDirectory
from typing import List

from scnet_tools.arguments import (
    add_config,
    add_data_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, " (%(default)s)", default="scnet_R_50_FPN_1x_coco")
    add_data_arguments(parser)
    add("--output", metavar="FOLDER", help="where the report and the pictures go")
    add("--overwrite", action="store_true", help="replace a report or --to that exists")
    add(
        "--from",
        dest="source",
        nargs=2,
        metavar=("FORMAT", "PATH"),
        help="annotations in another format: cvat, labelme, labelstudio, via, voc or yolo",
    )
    add("--to", metavar="FILE", help="where they are written as COCO json")
    add("--split", metavar="NAME", help="the part of the data that is written, such as train")
    add("--class-attribute", metavar="NAME", help="of VIA's regions, the one that is the class")
    add("--pictures", type=int, default=24, help="per data set (%(default)s)")
    add("opts", nargs=REMAINDER, help="KEY VALUE pairs, last")
    return parser.parse_args()


def import_data(args: Namespace) -> List[str]:
    """Write --from as --to, print what is in it, and let the arguments name it.

    Returns:
        the arguments of a training that name it; none if there is no --from.

    Raises:
        OSError, ValueError: see ``import_labels``; or arguments are missing, or too many.
    """
    if not args.source:
        for name in ("to", "split", "class_attribute"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is for --from, which is not given.")
        return []
    from scnet.data.importing.write_coco import READERS, import_labels

    kind, path = args.source
    if kind not in READERS:
        raise ValueError(f"--from takes one of {', '.join(READERS)}, not '{kind}'.")
    if not args.to:
        raise ValueError("--from needs --to FILE, where the annotations are written.")
    if args.train_json or args.val_json or len(args.train_images) > 1:
        raise ValueError("--from takes the place of --train-json, and goes with no other data.")
    imported = import_labels(
        kind,
        path,
        args.to,
        images_folder=args.train_images[0] if args.train_images else None,
        split=args.split,
        class_attribute=args.class_attribute,
        overwrite=args.overwrite,
    )
    for sentence in imported.sentences:
        print_line(f"- {sentence}")
    args.train_json, args.train_images = [args.to], [imported.images_folder]
    return ["--train-json", args.to, "--train-images", imported.images_folder]


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.data.own_data import given_opts, read_cfg_of
    from scnet.data.validation.check_dataset import check_datasets
    from scnet.data.validation_split import split_training_set

    with mistakes_in_one_line(), TemporaryDirectory() as elsewhere:
        imported = import_data(args)
        cfg = read_cfg_of(args)
        if args.val_fraction is not None:
            folder = os.path.join(args.output or elsewhere, "split")
            print(split_training_set(cfg, args.val_fraction, folder, given_opts(args)[::2]))
        fit = check_datasets(
            cfg,
            args.opts[::2],
            folder=args.output,
            pictures=args.pictures,
            overwrite=args.overwrite,
        )
    if imported and fit:
        words = ["scnet", "train", "--config", "scnet_R_50_FPN_own_data", *imported]
        fraction = [] if args.val_fraction is None else ["--val-fraction", f"{args.val_fraction:g}"]
        print_line(f"To train on it: {shlex.join([*words, *fraction])}")
    sys.exit(0 if fit else 1)


if __name__ == "__main__":
    main()
