"""What a worker's process does in the proof of docs/evidence/access-policy.md: it pushes, pulls, or attacks."""
