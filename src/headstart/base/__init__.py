"""The Base value: its folder on disk, the Hugging Face families, lineage, and what a base can do."""
