"""The demo: a throwaway Airflow, a real run, and attacks on it."""
