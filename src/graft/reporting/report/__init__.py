"""The page that a run leaves behind: `report.html`, one file that needs nothing else.

Imported at the end of a run only: jinja2 and matplotlib take a while to load.
"""
