"""What a worker's process does in the proof of docs/policies.md: it pushes, pulls, or attacks."""
