"""One file for each version of the table of numbers."""
