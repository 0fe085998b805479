"""What will be on disk."""
