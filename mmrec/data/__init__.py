"""Interactions, splits, items and their joining into one dataset."""
