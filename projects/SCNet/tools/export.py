#!/usr/bin/env python
"""Write a model as TorchScript or ONNX, for programs without Detectron2 and this package.

    %(prog)s --weights output/mine/model_final.pth --format onnx --output model.onnx

docs/export.md says what goes in and comes out, and how to run the file.
"""

import os
from argparse import Namespace

from scnet_tools.arguments import (
    add_opts,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)
from scnet_tools.model_arguments import add_model_arguments, read_model_config


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_model_arguments(parser)
    add("--format", required=True, choices=["onnx", "torchscript"])
    add("--output", required=True, metavar="FILE", help="ends in .ts or .onnx")
    add(
        "--size",
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=("H", "W"),
        help="of the image that the file is verified with (480 640); it takes images of any size",
    )
    add(
        "--image",
        metavar="FILE",
        help="to verify the file with, if the model finds nothing in generated images",
    )
    add("--overwrite", action="store_true", help="replace a file that exists")
    add_opts(parser)
    return parser.parse_args()


def check_output(path: str, model_format: str, overwrite: bool) -> None:
    """Find what is wrong with the name of the file before the model is loaded.

    Raises:
        ValueError: the ending of the file is not that of the format.
        FileExistsError: there is such a file.
        FileNotFoundError: there is no such folder.
    """
    from scnet.exported_formats import ENDINGS

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


def export(args: Namespace) -> None:
    """Write the file that the arguments ask for, and say how to run it."""
    import torch

    from scnet.checkpoint import load_model
    from scnet.data.image import read_image
    from scnet.data.own_data import register_datasets
    from scnet.export.export_model import export_model
    from scnet.image_kind import ImageKind
    from scnet.inference.pytorch_backend import names_of_classes

    cfg = read_model_config(args)
    if cfg.TEST.AUG.ENABLED:
        raise ValueError(
            "TEST.AUG.ENABLED is True, but test-time augmentation cannot be exported. Set it to "
            "False."
        )
    register_datasets(cfg, must_exist=False)
    if "MODEL.DEVICE" in args.opts and cfg.MODEL.DEVICE != "cpu":
        raise ValueError(
            f"Models are exported on the CPU, so MODEL.DEVICE cannot be {cfg.MODEL.DEVICE}. Leave "
            "it out: the file does not depend on it."
        )
    cfg.MODEL.DEVICE = "cpu"
    image = None
    if args.image:
        pixels = read_image(args.image, cfg.INPUT.FORMAT, cfg.INPUT.MAX_PIXELS, ImageKind.of(cfg))
        image = torch.as_tensor(pixels.transpose(2, 0, 1).copy(), dtype=torch.float32)
    model = load_model(cfg)
    metadata = {
        "class_names": names_of_classes(model, cfg),
        "channels": cfg.INPUT.CHANNELS,
        "dtype": cfg.INPUT.DTYPE,
        "input_format": cfg.INPUT.FORMAT,
        "min_size_test": cfg.INPUT.MIN_SIZE_TEST,
        "max_size_test": cfg.INPUT.MAX_SIZE_TEST,
        "max_pixels": cfg.INPUT.MAX_PIXELS,
    }
    height, width = args.size
    deviation = export_model(
        model, args.output, args.format, metadata, (height, width), image=image
    )
    print(f"Compared with PyTorch on an image of {height} x {width}: {deviation}.")
    print(f"{args.output}: {os.path.getsize(args.output) / 1e6:.1f} MB")
    print(
        "Run it in Python, or without this package as docs/export.md shows:\n"
        "    from scnet.export.runtime import load_exported\n"
        f"    (instances,) = load_exported({args.output!r})([image])"
        f"  # image: {describe_input(cfg)}"
    )


def describe_input(cfg) -> str:
    """Say what the file takes, such as "(3, H, W), RGB, 0 to 255"."""
    channels, dtype = cfg.INPUT.CHANNELS, cfg.INPUT.DTYPE
    order = f"{cfg.INPUT.FORMAT}, " if channels == 3 else ""
    return f"({channels}, H, W), {order}{'0 to 255' if dtype == 'uint8' else f'as {dtype} files'}"


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    with mistakes_in_one_line(ImportError):  # of the extra "export"
        check_output(args.output, args.format, args.overwrite)
        if min(args.size) < 1:
            raise ValueError(f"There is no image of --size {args.size[0]} {args.size[1]}.")
        export(args)


if __name__ == "__main__":
    main()
