"""Weights from elsewhere. Importing it registers ``scnet://`` and ``torchvision://``."""

from .checkpointer import SCNetCheckpointer
from .load_model import load_model
from .mmdet import convert_mmdet_state_dict, convert_to_mmdet_state_dict
from .torchvision_weights import TorchvisionHandler
from .zoo import ZooHandler

TorchvisionHandler().register()
ZooHandler().register()
