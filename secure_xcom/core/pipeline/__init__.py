"""Push and pull: the order of the steps, written once."""
