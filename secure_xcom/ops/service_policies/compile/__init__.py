"""Compile the access policy into service policies, one file per service."""
