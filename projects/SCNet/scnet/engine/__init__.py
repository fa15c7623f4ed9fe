"""Training and evaluation, on Detectron2's ``DefaultTrainer`` and ``COCOEvaluator``."""

from .closing import say_where_things_are
from .evaluation.load_for_evaluation import load_for_evaluation
from .launch import launch
from .setup import configure_data, setup
from .trainer import Trainer
