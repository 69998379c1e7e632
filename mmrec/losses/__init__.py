"""Losses as functions of tensors; models name and add them."""
