"""What Airflow loads: the backend, the settings, the plugin, and what runs in a task's process."""
