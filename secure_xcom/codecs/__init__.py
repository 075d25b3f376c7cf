"""Former paths, kept for code that imports them."""
