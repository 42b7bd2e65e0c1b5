"""Work of the dataset converters."""
