"""``secure-xcom doctor``, settings by which one worker's task runs code as the scheduler or another worker."""

from __future__ import annotations

from collections.abc import Iterator


def settings_of_workers(executor: str, result_backend: str, *, remote: bool) -> Iterator[tuple[str, str]]:
    """Give what is wrong with them, each with what to do.

    :param executor: ``[core] executor``.
    :param result_backend: Celery's; without an option of its own Airflow takes its own database.
    :param remote: whether Celery's workers take orders beside tasks.
    """
    if "EdgeExecutor" in executor:
        # https://airflow.apache.org/docs/apache-airflow-providers-edge3/stable/deployment.html
        yield (
            (
                "[core] executor has the EdgeExecutor: its workers share [api_auth] jwt_secret, and each says "
                "itself which queues it takes, so its queues keep no teams apart"
            ),
            "give the places of the access policy to workers of another executor (docs/identity-boundary.md)",
        )
    if "CeleryExecutor" not in executor:
        return
    if not result_backend or result_backend.startswith("db+"):
        yield (
            (
                "[celery] result_backend is a database: Celery keeps results there as pickles, so a worker that "
                "may write one runs code in the scheduler"
            ),
            "name a Redis whose logins keep the workers apart (docs/deploying.md)",
        )
    if remote:
        yield (
            (
                "[celery] worker_enable_remote_control is on: whoever may publish at the broker tells every "
                "worker from which queues to take"
            ),
            "set it to False, and give each queue's workers a login of their own there (docs/deploying.md)",
        )
