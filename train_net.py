#!/usr/bin/env python
"""Train or evaluate SCNet: the tool ``projects/SCNet/tools/train_net.py``, where one looks first.

python train_net.py --help
"""

from scnet_tools.train_net import main

if __name__ == "__main__":
    main()
