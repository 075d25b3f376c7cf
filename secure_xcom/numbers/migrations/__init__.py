"""The migrations of the table of numbers."""
