"""Figures of a run, drawn with matplotlib: each module draws one kind and returns it."""
