"""The story of a run, from data to the tested checkpoint."""
