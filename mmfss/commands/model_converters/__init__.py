"""Command lines of the model converters."""
