#!/usr/bin/env python
"""Measure how fast models are, part by part, in one run and on the same images.

    %(prog)s --config A.yaml B.yaml ... --output FOLDER

Takes configs of SCNet and of Detectron2's generalized R-CNN. Weights are random unless --weights
is given; the low scores of random weights let as many detections through as the config allows.
"""

from argparse import Namespace

from scnet_tools.arguments import (
    add_config,
    add_opts,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, "; one or more", required=True, nargs="+")
    add("--weights", nargs="+", default=[], metavar="FILE", help="one per config; default: random")
    add("--size", type=int, nargs=2, default=[800, 1333], metavar=("HEIGHT", "WIDTH"))
    add("--batch-size", type=int, default=1, help="images per inference (%(default)s)")
    add("--rounds", type=int, default=5, help="runs of each config that count (%(default)s)")
    add("--warmup", type=int, default=1, help="runs before those (%(default)s)")
    devices = ["cuda", "cpu"]
    add("--device", choices=devices, help="not MODEL.DEVICE; default: cuda if there is one")
    add("--optimize", action="store_true", help="with scnet.optimize_for_inference")
    add("--compile", action="store_true", help="with torch.compile; the parts are not timed then")
    dtypes = ["float32", "bfloat16", "float16"]
    add("--dtype", default=dtypes[0], choices=dtypes, help="by autocast (%(default)s: without)")
    add("--threads", type=int, help="on the CPU; default: PyTorch's choice")
    add("--input", metavar="IMAGE", help="default: random images")
    add("--output", metavar="FOLDER", help="for benchmark.md and benchmark.json")
    add_opts(parser, "KEY VALUE pairs for all configs, last")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    given = {name: value for name, value in vars(parse_args()).items() if value is not None}
    from scnet.inference.benchmark import Settings, benchmark

    with mistakes_in_one_line():
        files, folder = given.pop("config_file"), given.pop("output", None)
        print(benchmark(Settings(files, **given), folder))


if __name__ == "__main__":
    main()
