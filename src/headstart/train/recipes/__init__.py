"""Recipes that ship with Headstart, as TOML."""
