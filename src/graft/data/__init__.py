"""Folders of labelled images: scanning, splitting, checking, decoding, batches."""
