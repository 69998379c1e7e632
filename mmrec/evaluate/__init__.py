"""Full ranking, metrics, and their averages."""
