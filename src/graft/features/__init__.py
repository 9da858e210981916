"""Cached features of a frozen backbone, and the solver that fits a linear head to them."""
