"""Trained models in use: prediction, evaluation, explanation, export."""
