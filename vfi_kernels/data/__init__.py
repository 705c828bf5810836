"""Training data: batches are dicts of tensors."""
