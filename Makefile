# make demo    train and test DCAMA on the embedded data, pictures in work_dirs/demo
# make app     open a page in the browser: segment pictures by examples, see why; ARGS="--data CONFIG"
# make test    the tests, in two processes (WORKERS=...); ARGS="tests/test_engine -x" for some of them
# make setup   only the environment; PYTHON=... another Python; TORCH=cpu: PyTorch without CUDA, TORCH=lock: with it,
#              TORCH=keep: that of the active environment; default: cpu without an NVIDIA driver, if its index answers
# make clean   remove what the other targets made, except the environment (make distclean: that too)

VENV ?= .venv
TORCH ?= auto
WORKERS ?= 2
RUN = $(VENV)/bin/python
export VENV TORCH PYTHON

.PHONY: setup demo app test docs lint clean distclean

setup:
	@bash .dev_scripts/setup.sh

demo: setup
	@$(RUN) tools/demo.py $(ARGS)

app: setup
	@$(RUN) demo/app.py $(ARGS)

# One thread each: the tests are small, and threads of several processes would get in each other's way.
# Bytecode is written: the tests start processes, each of which would compile all modules again, for up to 20 seconds.
test: setup
	@env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(RUN) -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

docs: setup
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/docs.txt
	@$(RUN) -m sphinx -W --keep-going -q -b html docs/en docs/en/_build/html
	@echo 'docs: open docs/en/_build/html/index.html'

lint: setup
	@$(RUN) -m pip install --quiet --disable-pip-version-check 'ruff>=0.6'
	@$(RUN) -m ruff check .
	@$(VENV)/bin/lint-imports --no-cache

clean:
	rm -rf build dist docs/en/_build *.egg-info work_dirs .pytest_cache .ruff_cache
	find mmfss tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
