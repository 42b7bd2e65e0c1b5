"""Work of the model converters."""
