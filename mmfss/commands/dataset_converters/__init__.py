"""Command lines of the dataset converters."""
