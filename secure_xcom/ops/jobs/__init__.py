"""What goes on beside the tasks: gc, expire, rewrap, doctor, sealing what is there already.

Airflow's rows are read from an explicit database URL (`secure_xcom.ops.xcom_table`), page by page, and
payloads are listed in their stores; nothing here holds more than a page of either. Each job is resumable: killed
at any moment, running it again finishes the work. Only what seals or unseals existing rows has a data key.
"""
