"""Searching the access log: a query, and how many million lines are held against it in bounded memory."""
