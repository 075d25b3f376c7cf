"""What Airflow's own metrics and traces are told of pushes, pulls and key services. docs/observability.md.

Nothing here can make a push or a pull fail, and nothing is told where Airflow's metrics and traces are off.
"""

from secure_xcom.core.pipeline.telemetry.measuring import Meter, Span, Telemetry, Tracer

__all__ = ["Meter", "Span", "Telemetry", "Tracer"]
