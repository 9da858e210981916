"""The page that a run leaves behind: `report.html`, one file that needs nothing else."""
