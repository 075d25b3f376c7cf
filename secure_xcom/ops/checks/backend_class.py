"""Check that the class that ``[core] xcom_backend`` names is the backend of this product."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from secure_xcom.core.findings import Finding
from secure_xcom.core.suggest import closest

_SUBJECT = "[core] xcom_backend"
_OURS = "secure_xcom.SecureXComBackend"
_SET = f"set [core] xcom_backend = {_OURS} for every component and worker, triggerers included"


def configured_backend(config: Path | None) -> str:
    """Return the value of the option, of a file in the form of airflow.cfg or of Airflow on this machine.

    :raises ConfigurationError: it cannot be read; :raises CommandError: the file cannot be read.
    """
    from secure_xcom.deployment import airflow_config, airflow_is_installed, config_file

    if config is None and airflow_is_installed():
        return airflow_config.option("core", "xcom_backend") or ""
    return config_file.backend_name(config)


def findings(name: str) -> Iterator[Finding]:
    """Import the class as Airflow does, and report what values pass through.

    :param name: the option's value, in which a letter's case matters.
    """
    if not name or (name.startswith("airflow.") and name.endswith(".BaseXCom")):
        text = "Airflow does not use the backend on this machine, so values are stored in plaintext"
        yield Finding(_SUBJECT, "error", text, _SET)
        return
    module_name, dot, class_name = name.rpartition(".")
    if not dot:
        yield _broken(name, "the class is named without its module", _meant(f"secure_xcom.{name}"))
        return
    try:
        module = importlib.import_module(module_name)
        backend = getattr(module, class_name)
    except ModuleNotFoundError as error:
        yield _broken(name, f"there is no module {error.name!r:.80}", _meant(name))
        return
    except AttributeError:
        yield _broken(name, f"the module {module_name!r:.80} has no {class_name!r:.80}", _meant(name))
        return
    except Exception as error:  # noqa: BLE001  # an import may raise anything, in Airflow too
        text = f"its module cannot be imported ({type(error).__name__})"
        yield _broken(name, text, "see the error of `airflow info` on this machine")
        return
    yield from _of_class(name, backend)


def _of_class(name: str, backend: object) -> Iterator[Finding]:
    from secure_xcom.airflow.backend import SecureXComBackend

    if not isinstance(backend, type) or not issubclass(backend, SecureXComBackend):
        text = f"{name:.120} is another backend than {_OURS}, so values are not sealed"
        yield Finding(_SUBJECT, "error", text, f"{_SET}, or make the class a subclass of it")
        return
    if backend is SecureXComBackend:
        yield Finding(_SUBJECT, "ok", f"values pass through {_OURS}")
        return
    yield Finding(_SUBJECT, "ok", f"values pass through {name:.120}, a subclass of {_OURS}")
    ours = SecureXComBackend.__mro__
    # Every method of ours and of Airflow's: a class that replaces any of them can let values pass unsealed.
    methods = {name for base in ours[:-1] for name, value in vars(base).items() if _is_method(name, value)}
    replaced = sorted(
        {method for base in backend.__mro__ if base not in ours for method in methods & {*vars(base)}}
    )
    if replaced:
        yield Finding(
            _SUBJECT,
            "warning",
            f"{name:.120} replaces {', '.join(replaced)}: what it does not pass on is not sealed",
            "check that each calls the method of the same name of its base class with every value",
        )


def _is_method(name: str, value: object) -> bool:
    return not name.startswith("__") and isinstance(value, (staticmethod, classmethod))


def _broken(name: str, text: str, remedy: str) -> Finding:
    return Finding(
        _SUBJECT, "error", f"{name:.120} cannot be imported, so no task can push or pull: {text}", remedy
    )


def _meant(name: str) -> str:
    like = closest(name, [_OURS])
    return f"did you mean {like}? Otherwise {_SET}" if like else _SET
