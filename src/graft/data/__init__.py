"""Folders of labelled pictures: scanning, splitting, checking, decoding, batches."""
