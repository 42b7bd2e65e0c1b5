"""Work of the commands, with parsed arguments."""
