"""Predicting with trained weights: the predictor, what it reads and what can be written."""

from .backends import BACKENDS
from .outputs import load_results
from .predictor import Predictor
