"""Who gets in, and the evidence for it."""
