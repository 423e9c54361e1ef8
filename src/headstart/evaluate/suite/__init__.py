"""Suites of benchmarks: typed task tables, cells that are run once, and the leaderboard over bases and controls."""
