"""Predicting with trained weights: the predictor, what it reads and what can be written."""

from .predictor import BACKENDS, Predictor
