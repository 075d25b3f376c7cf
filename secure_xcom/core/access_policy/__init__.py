"""The access policy: the file, its compartments and identities, and its decisions.

`AccessPolicy` in `policy` decides; a task without an access policy file needs `single` alone. Where tasks run and
where DAGs come from is in `dag_placement`, `executors` and `dag_origin`.
"""
