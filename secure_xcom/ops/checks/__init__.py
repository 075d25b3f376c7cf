"""What `secure-xcom check` and `secure-xcom doctor` know of services and of this machine."""
