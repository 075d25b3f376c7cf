"""Metrics and traces of pushes, pulls and key services, told to Airflow's own (docs/reference/metrics.md).

Measuring cannot make a push or a pull fail, and is not loaded where Airflow's metrics and traces are off.
"""
