"""The distributed deployment under a seeded schedule of faults; run by `make soak`."""
