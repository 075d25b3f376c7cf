"""Mutation testing of what must not be wrong: `make mutation`, docs/evidence/mutation.md."""
