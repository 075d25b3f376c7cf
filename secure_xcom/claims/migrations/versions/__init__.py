"""One file for each form that the table of claims has had."""
