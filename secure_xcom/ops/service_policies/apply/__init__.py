"""Bring compiled policies into services, one file per service."""
