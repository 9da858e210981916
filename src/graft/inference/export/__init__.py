"""Exports of a trained model, verified before they are written."""
