"""The training loop and what it needs: chance, stopping, checkpoints."""
