"""The command ``secure-xcom``."""
