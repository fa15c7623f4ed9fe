"""Weights from elsewhere. Importing it registers ``torchvision://``."""

from . import torchvision_weights

torchvision_weights.register()
