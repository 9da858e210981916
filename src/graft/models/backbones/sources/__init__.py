"""Where networks come from: `model.source=NAME` is the module NAME in this folder.

A source has `names()`, `build(name, weights, options)` and `size_option(name, size)`, as in `packaged.py`.
Its `BuiltNetwork` names the linear classification layer in `classifiers`, or has its own `remove_classifier`.
It may have `has(name)`, where a name has several spellings, and `entries()`, for `scripts/models.py`.
"""
