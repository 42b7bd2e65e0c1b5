"""Seeded inputs and literal implementations that tests compare with."""
