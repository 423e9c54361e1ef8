"""Measurements against the peers people use today. Nothing here is part of the package; start with bench/README.md."""
