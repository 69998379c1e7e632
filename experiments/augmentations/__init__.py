"""What plug-in augmentations bring."""
