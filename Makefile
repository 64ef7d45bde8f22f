# The verbs. Each does all its own set-up first, and skips what is there already.
.DEFAULT_GOAL := help
.PHONY: help setup run real sweep doctor lab hub test soak record docs bench site workshop image publish lock

VENV := $(or $(WORKBOOK_VENV),.venv)
WORKBOOK := $(VENV)/bin/workbook
# TARGET=gcp PROJECT=my-project make run
WORLD := $(if $(TARGET),--target '$(TARGET)' $(if $(PROJECT),--project '$(PROJECT)'))

help:
	@echo 'make run      run every notebook in a world of its own; ARGS="--only 02,03" runs some of them'
	@echo 'make real     run them on Google within a budget: make real PROJECT=my-project ARGS="--check" only looks'
	@echo 'make sweep    list what runs left in a project on Google; ARGS="--yes" removes it'
	@echo 'make lab      open the notebooks in JupyterLab, with a sandbox of your own'
	@echo 'make hub      open a room: a JupyterHub for a class list, WORKBOOK_CLASS=names.txt make hub'
	@echo 'make test     run the tests'
	@echo 'make soak     run the long tests of which make test runs a slice: an hour and more'
	@echo 'make bench    measure the sandbox, beside gcloud'"'"'s extractor and the docker-registry of Debian'
	@echo 'make site     the notebooks and the docs as static pages, to read and to search without a network'
	@echo 'make workshop the day before: fetch everything, run everything once, and print a report to hand in'
	@echo 'make record   run the notebooks and store their outputs'
	@echo 'make docs     write what pages say of notebooks and of the sandbox from their sources'
	@echo 'make doctor   compare your gcloud, docker and clients with those that the outputs were recorded with'
	@echo 'make setup    only the set-up: Python environment, Docker Engine, base image'
	@echo 'make image    build the workbook'"'"'s container; ARGS="--build-arg GCLOUD=official" puts gcloud into it'
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

# A learner's server needs JupyterHub beside the workbook's own packages: an environment of its own, with both.
hub: setup
	@WORKBOOK_VENV="$(CURDIR)/.venv-hub" WORKBOOK_LOCK=room/requirements.txt machine/install.sh
	@.venv-hub/bin/python -m room $(ARGS)

# A run starts a thousand Pythons: what one of them has compiled, the others read.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/python -m pytest

# Three at once on two processors: while one waits for a container or a client, the others go on.
test: setup
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy
	@$(PYTEST) --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

record: setup
	@$(WORKBOOK) record $(ARGS)

docs: setup
	@$(VENV)/bin/python -m tests.docs

doctor: setup
	@$(WORKBOOK) doctor $(ARGS)

# The long runs of which make test runs a slice. ARGS=tests/image runs that folder alone.
soak: setup
	@WORKBOOK_SOAK=1 $(PYTEST) --timeout=0 \
		$(if $(filter tests/%,$(ARGS)),,tests/notebooks $(shell grep -rl --include='test_*.py' WORKBOOK_SOAK tests)) $(ARGS)

# The last one stands beside the docker-registry of Debian, and needs it: root, curl, skopeo.
bench: setup
	@$(VENV)/bin/python benchmarks/registry/listing.py
	@$(VENV)/bin/python benchmarks/registry/learners.py
	@$(VENV)/bin/python benchmarks/cleanup/preview.py
	@$(VENV)/bin/python benchmarks/console/pages.py
	@$(VENV)/bin/python benchmarks/packages/install.py
	@$(VENV)/bin/python benchmarks/scanning/push.py
	@$(VENV)/bin/python benchmarks/registry/against_distribution.py $(ARGS)

# The day before: all that a learner's machine fetches, fetched; then a report to hand in.
workshop: setup site
	@$(WORKBOOK) workshop $(ARGS)

# Needs neither engine nor sandbox: the pages are the notebooks as they were recorded.
site:
	@WORKBOOK_VENV="$(CURDIR)/.venv-site" WORKBOOK_LOCK=site/requirements.txt machine/install.sh
	@.venv-site/bin/python site/build.py

# The container of image/. It has a set-up of its own.
image:
	@docker build --file image/Dockerfile --tag artifact-registry-workbook $(ARGS) .

# For .github/workflows/image.yml: gives an image that is pushed and tried its version's name.
publish:
	@docker buildx imagetools create --tag '$(IMAGE):$(VERSION)' '$(IMAGE)@$(DIGEST)'

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv on the PATH.' >&2; exit 2; }
	@UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade --group dev pyproject.toml --output-file requirements.txt
	@UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade --group site --constraint requirements.txt --output-file site/requirements.txt
	@UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade --group dev --group hub pyproject.toml --constraint requirements.txt --output-file room/requirements.txt
