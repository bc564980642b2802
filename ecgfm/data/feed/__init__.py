"""Batches of stored segments, in the order of training."""
