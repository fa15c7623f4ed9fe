#!/usr/bin/env python
"""Test and measure SCNet, and what it is compared with, on your GPU, and write a page about it.

    %(prog)s --output FOLDER

FOLDER gets gpu_report.md: the hardware, the versions and the flags in force; the result of the
tests that need a GPU; for five models the seconds per image and per training step in float32, TF32,
float16 and bfloat16, the peak memory, and the ratios of the times beside those of the paper; and
Table 2 of the paper on generated images, as `scnet reproduce` trains it. That takes hours: --seeds
without a number leaves it out. What the device cannot do is named.
"""

from argparse import Namespace

from scnet_tools.arguments import add_opts, ends_on_ctrl_c, make_parser, mistakes_in_one_line


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output", required=True, metavar="FOLDER", help="for gpu_report.md")
    add("--size", type=int, nargs=2, default=[800, 1333], metavar=("HEIGHT", "WIDTH"))
    add("--rounds", type=int, default=10, help="images or steps that count (%(default)s)")
    add("--warmup", type=int, default=3, help="images or steps before those (%(default)s)")
    add("--device", choices=["cuda", "cpu"], default="", help="default: cuda if there is one")
    add("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5], metavar="SEED", help="of Table 2")
    add_opts(parser, "KEY VALUE pairs for the models whose speed is measured, last")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet_tools.speed_report import report

    with mistakes_in_one_line():
        print(report(args))


if __name__ == "__main__":
    main()
