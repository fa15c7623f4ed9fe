#!/usr/bin/env python
"""Share a trained model on Hugging Face, or write a folder of what others need of it.

    %(prog)s output/mine OWNER/NAME
    %(prog)s output/mine --folder FOLDER

The repository is private unless you say --public. It gets the weights without the state of the
training, the config without paths of this machine, and a page about the model. Look at them first:
--folder writes the same files, without network.
"""

import tempfile
from argparse import Namespace

from scnet_tools.arguments import (
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("run", metavar="OUTPUT_DIR", help="of the training")
    add("repository", nargs="?", metavar="OWNER/NAME", help="on Hugging Face; made if need be")
    add("--folder", metavar="FOLDER", help="write the files here, and push nothing")
    add(
        "--weights",
        metavar="NAME",
        help="of a checkpoint in OUTPUT_DIR; by default model_best.pth or else model_final.pth",
    )
    add("--license", metavar="ID", help="for the page, as Hugging Face names it: apache-2.0, mit")
    add(
        "--report",
        action="store_true",
        help="also report.html, which has images of the test data and paths of this machine",
    )
    add("--public", action="store_true", help="everybody may see the repository")
    add("--overwrite", action="store_true", help="replace files that exist")
    return parser.parse_args()


def push(args: Namespace) -> None:
    """Write the folder, and push it if that is asked for.

    Raises:
        ValueError: not one of the repository and --folder is given; or an argument has no effect.
    """
    if bool(args.repository) == bool(args.folder):
        raise ValueError("Give either OWNER/NAME, to push to, or --folder.")
    if args.folder and args.public:
        raise ValueError("--public is for OWNER/NAME, which is not given.")
    from scnet.engine.share.model_folder import write_model_folder
    from scnet.engine.share.upload import check_name, upload

    options = {"weights": args.weights, "license": args.license, "report": args.report}
    if args.folder:
        notes = write_model_folder(args.run, args.folder, overwrite=args.overwrite, **options)
        place, weights = args.folder, f"{args.folder}/model.safetensors"
    else:
        check_name(args.repository)
        with tempfile.TemporaryDirectory() as folder:
            notes = write_model_folder(args.run, folder, name=args.repository, **options)
            place = upload(folder, args.repository, args.public, args.overwrite)
        weights = f"hf://{args.repository}"
    for note in notes:
        print_line(note)
    print_line(f"The model is in {place}. To use it:")
    print_line(f"    scnet predict --weights {weights} --input IMAGE --output FOLDER")


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    with mistakes_in_one_line():
        push(args)


if __name__ == "__main__":
    main()
