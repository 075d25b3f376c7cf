"""Service policies: the access policy compiled for Vault, AWS, Google and Azure, against hostile workers.

Compiling only writes text and calls no service. The package imports nothing by itself: the page in Airflow's UI
uses lint, and must not load the code of key services.
"""
