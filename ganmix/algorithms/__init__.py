"""The step of each algorithm, as the paper writes it, and how a loss is descended."""
