"""``secure-xcom doctor``, settings by which one worker's task runs code as the scheduler or another worker."""

from __future__ import annotations

from collections.abc import Iterator


def settings_of_workers(executor: str, result_backend: str, *, remote: bool) -> Iterator[tuple[str, str]]:
    """Yield each setting that lets one worker act as another, with its remedy.

    :param executor: ``[core] executor``.
    :param result_backend: Celery's; without an option of its own Airflow takes its own database.
    :param remote: whether Celery's workers take orders beside tasks.
    """
    if "EdgeExecutor" in executor:
        # https://airflow.apache.org/docs/apache-airflow-providers-edge3/stable/deployment.html
        yield (
            (
                "[core] executor has the EdgeExecutor: its workers share [api_auth] jwt_secret, and each "
                "chooses its own queues, so its queues do not separate teams"
            ),
            "use another executor for the workers in the policy's places (docs/concepts/identity-boundary.md)",
        )
    if "CeleryExecutor" not in executor:
        return
    if not result_backend or result_backend.startswith("db+"):
        yield (
            (
                "[celery] result_backend is a database: Celery stores results there as pickles, so a worker that "
                "can write one runs code in the scheduler"
            ),
            "use a Redis with a separate login for each worker (docs/how-to/separate-queues.md)",
        )
    if remote:
        yield (
            (
                "[celery] worker_enable_remote_control is on: whoever can publish to the broker can tell "
                "every worker which queues to consume"
            ),
            "set it to False, and give each queue's workers a broker login (docs/how-to/separate-queues.md)",
        )
