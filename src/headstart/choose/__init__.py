"""Which base, by which method, for my task, within my budget."""
