"""The page in Airflow's UI: a tab on task instances and a page under Browse (docs/reference/ui.md).

Only the API server loads this package, and nothing else of ours imports it: `secure_xcom.airflow.plugin` names it,
and builds what is here when Airflow asks for the plugin's apps. It has no key, no store and no secret of its own
but the URL in ``[secure_xcom] ui_audit_url``.
"""
