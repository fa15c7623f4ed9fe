PYTHON ?= python3
VENV ?= .venv
CONFIGS := projects/SCNet/configs
QUICKSTART := output/quickstart
RUN := $(VENV)/bin/python
# Tests that run at a time, each on one core.
JOBS ?= 2

.PHONY: help env quickstart test test-quick lint docs

help:
	@echo "make env         install everything into $(VENV)"
	@echo "make quickstart  train, evaluate and draw the quick-start model in $(QUICKSTART)"
	@echo "make test        run all tests"
	@echo "make test-quick  run the tests that take less than three minutes together"
	@echo "make lint        check style and types"
	@echo "make docs        build the documentation as a site in site"

env: $(VENV)/.complete

$(VENV)/.complete: requirements/environment.txt requirements/detectron2.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; set PYTHON=")'
	@echo "== Installing into $(VENV): PyTorch, Detectron2 and this package. It takes some minutes."
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --require-hashes -r requirements/environment.txt
	$(RUN) requirements/install_detectron2.py
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

quickstart: env
	@echo "== Training on generated images. Progress: $(QUICKSTART)/log.txt, TensorBoard: $(QUICKSTART)"
	$(RUN) train_net.py --resume --config-file $(CONFIGS)/quickstart.yaml OUTPUT_DIR $(QUICKSTART)
	@echo "== Drawing predictions"
	$(RUN) projects/SCNet/tools/predict.py --config-file $(CONFIGS)/quickstart.yaml --overwrite \
	    --input scnet_shapes_val --limit 20 --output $(QUICKSTART)/predictions \
	    --opts MODEL.WEIGHTS $(QUICKSTART)/model_final.pth
	@echo "== Average precision ($(QUICKSTART)/inference/results.md):"
	@cat $(QUICKSTART)/inference/results.md
	@echo "== Pictures: $(QUICKSTART)/predictions"

test: env
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS)

test-quick: env
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) -m "not slow"

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
