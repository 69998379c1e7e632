"""What a person sees: progress bars and tables."""
