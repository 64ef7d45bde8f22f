# The verbs. Each does all its own set-up first, and skips what is there already.
.DEFAULT_GOAL := help
.PHONY: help setup run real sweep doctor lab test soak record bench site lock

VENV := $(or $(WORKBOOK_VENV),.venv)
WORKBOOK := $(VENV)/bin/workbook
# TARGET=gcp PROJECT=my-project make run
WORLD := $(if $(TARGET),--target '$(TARGET)' $(if $(PROJECT),--project '$(PROJECT)'))

help:
	@echo 'make run      run every notebook in a world of its own; ARGS="--only 02,03" runs some of them'
	@echo 'make real     run them on Google within a budget: make real PROJECT=my-project ARGS="--check" only looks'
	@echo 'make sweep    list what runs left in a project on Google; ARGS="--yes" removes it'
	@echo 'make lab      open the notebooks in JupyterLab, with a sandbox of your own'
	@echo 'make test     run the tests'
	@echo 'make soak     run the long tests of which make test runs a slice: half an hour'
	@echo 'make bench    measure the sandbox, beside the docker-registry of Debian'
	@echo 'make record   run the notebooks and store their outputs'
	@echo 'make doctor   compare your gcloud, docker and clients with those that the outputs were recorded with'
	@echo 'make setup    only the set-up: Python environment, Docker Engine, base image'
	@echo 'make lock     renew requirements.txt from pyproject.toml (needs uv)'

setup:
	@machine/install.sh
	@$(WORKBOOK) setup

run: setup
	@$(WORKBOOK) run $(WORLD) $(ARGS)

real: setup
	@$(WORKBOOK) real --project '$(PROJECT)' $(if $(REGION),--region '$(REGION)') $(ARGS)

sweep: setup
	@$(WORKBOOK) sweep --project '$(PROJECT)' $(if $(REGION),--region '$(REGION)') $(ARGS)

lab: setup
	@$(WORKBOOK) lab $(WORLD) $(ARGS)

test: setup
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

record: setup
	@$(WORKBOOK) record $(ARGS)

doctor: setup
	@$(WORKBOOK) doctor $(ARGS)

# The long runs of which make test runs a slice.
soak: setup
	@WORKBOOK_SOAK=1 $(VENV)/bin/python -m pytest tests/soak --timeout=0 $(ARGS)

# The last one stands beside the docker-registry of Debian, and needs it: root, curl, skopeo.
bench: setup
	@$(VENV)/bin/python benchmarks/registry/listing.py
	@$(VENV)/bin/python benchmarks/cleanup/preview.py
	@$(VENV)/bin/python benchmarks/registry/against_distribution.py $(ARGS)

site:
	@echo "make site isn't built yet: read the notebooks in JupyterLab (make lab)." >&2; exit 2

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv on the PATH.' >&2; exit 2; }
	@UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade --group dev pyproject.toml --output-file requirements.txt
