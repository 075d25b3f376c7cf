"""Match sensitive names, preview values, and register secrets with Airflow's masker.

A value comes here as plain structures, the way Airflow's serialization leaves it: dict, list, str, int, float,
bool and None, with ``__classname__``/``__data__`` around everything else; or as raw bytes.
"""
