"""From photos and texts to matrices, once per dataset; knows nothing of recommendation."""
