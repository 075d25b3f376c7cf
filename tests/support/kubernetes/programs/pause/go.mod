module secure_xcom.test/pause

go 1.24.0
