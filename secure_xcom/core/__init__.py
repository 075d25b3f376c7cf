"""Decisions and formats: what is sealed, how it is named, who may have it. Nothing here imports Airflow at its
top."""
