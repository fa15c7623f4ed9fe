#!/usr/bin/env python
r"""Open a page where one drops an image and sees what a model finds in it; it needs Gradio.

    %(prog)s --weights output/mine/model_final.pth

With --weights the config is by default the config.yaml beside them. Only this computer reaches the
page, unless --host says other. Ctrl-C ends it.
"""

import os
import tempfile
import time
from argparse import Namespace

from scnet_tools.arguments import (
    add_opts,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
)
from scnet_tools.model_arguments import add_model_arguments, find_model

LOOPBACK = "127.0.0.1"
PORTS = range(7860, 7960)  # those that Gradio tries


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_model_arguments(parser)
    add("--threshold", type=float, default=0.5, help="lowest score, at first (%(default)s)")
    add("--host", default=LOOPBACK, help="address to listen at; 0.0.0.0 is all (%(default)s)")
    add("--port", type=int, help=f"default: the first that is free from {PORTS[0]} on")
    add_opts(parser)
    return parser.parse_args()


def make_predictor(args: Namespace):
    """The predictor that the arguments name, with all that its model can say.

    Raises:
        OSError, ValueError, ImportError: see :func:`find_model` and :class:`scnet.Predictor`.
    """
    from scnet import Predictor
    from scnet.inference.demo_page import LOWEST

    weights, cfg, trusted = find_model(args)
    if cfg is not None:
        scnet = cfg.MODEL.SCNET
        scnet.SEMANTIC.OUTPUT = scnet.SEMANTIC.SOURCE != "none"
        scnet.GLOBAL_CONTEXT.OUTPUT = scnet.GLOBAL_CONTEXT.ENABLED
    return Predictor(weights, cfg, threshold=LOWEST, masks="rle", trusted=trusted)


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.inference.demo_page import LOWEST, Demo
    from scnet.inference.interrupts import Interrupts

    with mistakes_in_one_line(ImportError), tempfile.TemporaryDirectory() as cache:
        if not LOWEST <= args.threshold <= 1:
            raise ValueError(f"--threshold must be from {LOWEST} to 1, not {args.threshold}.")
        os.environ["GRADIO_TEMP_DIR"] = cache  # it is gone with the page
        predictor = make_predictor(args)
        if hasattr(predictor.backend, "device"):
            print_line(f"Device: {predictor.backend.device}")
        demo = Demo(predictor)
        page = demo.page(args.threshold)
        with Interrupts() as interrupts:
            address = launch(page, args)
            print_line(f"Tabs: {', '.join(demo.tabs)}. Uploads are kept in {cache} for an hour.")
            if args.host != LOOPBACK:
                print_line(
                    f"Everyone who reaches {args.host} in the network can use the page: there is "
                    f"no password. Without --host only this computer can."
                )
            print_line(f"Open {address} in a browser. Ctrl-C ends it.")
            for _ in interrupts.until_interrupted(iter(lambda: time.sleep(0.2), True)):
                pass
        page.close(verbose=False)


def launch(page, args: Namespace) -> str:
    """Serve the page, and nothing of Gradio's that is not needed for it.

    Returns:
        its address.

    Raises:
        OSError: the host or the port cannot be used.
    """
    try:
        _, address, _ = page.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=[],
            run_history=False,  # the browser would keep images
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
        )
    except OSError as error:
        where = f"port {args.port}" if args.port else f"any of the ports {PORTS[0]}-{PORTS[-1]}"
        raise OSError(
            f"Cannot open a page at {args.host}, {where}: give another --host or --port."
        ) from error
    return address


if __name__ == "__main__":
    main()
