"""One trunk for every family and modality: embedders, blocks, attention, heads, adapters, FLOP counts."""
