"""Certificates as values, good and bad ones."""
