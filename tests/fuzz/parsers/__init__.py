"""One harness for each parser that reads what others wrote: each module has a `tests.fuzz.harness.Harness`."""
