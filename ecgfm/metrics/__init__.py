"""Every number that says how good predictions are."""
