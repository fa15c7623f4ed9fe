"""Training and evaluation, on Detectron2's ``DefaultTrainer`` and ``COCOEvaluator``."""

from .setup import setup
from .trainer import Trainer
