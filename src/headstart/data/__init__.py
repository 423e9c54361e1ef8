"""Raw bytes to units: tables, Tasks, splits, leakage, tokenizers, batches."""
