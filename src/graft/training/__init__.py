"""The training of a classifier, phase after phase; begin with run.py.

Lines that end in `# room: NAME` go when the room NAME is taken out, see docs/architecture.md.
"""
