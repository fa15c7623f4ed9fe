"""Weights: saved, loaded, converted and fetched.

Importing this room lets weights be named ``scnet://NAME``, ``timm://NAME``,
``torchvision://NAME`` and ``hf://OWNER/NAME``.
"""

from .checkpointer import SCNetCheckpointer
from .config_beside import config_file_beside
from .hub import HubHandler
from .load_model import load_model
from .mmdet import convert_mmdet_state_dict, convert_to_mmdet_state_dict
from .timm_weights import TimmHandler
from .torchvision_weights import TorchvisionHandler
from .zoo import ZooHandler

HubHandler().register()
TimmHandler().register()
TorchvisionHandler().register()
ZooHandler().register()
