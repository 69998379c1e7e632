"""Every model on every dataset: what it gives, how fast, and what was published."""
