"""The access log: every push, pull, purge and refusal is an event, written before a value is given out.

Events hold ids only: never a value, a data key, a wrapped key or a preview.
"""
