"""What is running."""
