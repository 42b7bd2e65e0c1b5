"""Tiny models and data for tests."""
