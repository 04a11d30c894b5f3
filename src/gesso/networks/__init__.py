"""The networks of each paper, one file a paper; plain keyword arguments, `forward` only."""
