"""Converters from published weights and datasets to the layout of this package."""
