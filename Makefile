.PHONY: test check test-lowest campaign figures demo docs

BIN = .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
LOWEST = .venvs/lowest/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PYTHON3 = $(if $(filter Windows_NT,$(OS)),python,python3)
PYTEST = -m pytest -n 2 --dist worksteal
SPACE = $(subst ,, )

.venv/.stamp: pyproject.toml
	$(PYTHON3) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[test,dev]' torch==2.13.0
	touch $@

test: .venv/.stamp
	$(BIN)/python $(PYTEST) -m 'not slow'

# All tests, or with PART=2/6 the second of six parts of them.
check: .venv/.stamp
	$(BIN)/python $(PYTEST) --cov --cov-report=term:skip-covered $(if $(PART),--splitting-algorithm least_duration --group $(word 1,$(subst /,$(SPACE),$(PART))) --splits $(word 2,$(subst /,$(SPACE),$(PART))))
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The lowest versions that pyproject.toml allows, in a virtual environment of their own.
.venvs/lowest/.stamp: pyproject.toml
	$(PYTHON3) -m venv .venvs/lowest
	$(LOWEST)/python -m pip install -q uv
	$(LOWEST)/uv pip install -q --python $(LOWEST)/python --resolution lowest-direct -e '.[test]'
	touch $@

test-lowest: .venvs/lowest/.stamp
	$(LOWEST)/python $(PYTEST) -m 'not slow'

# What takes longer than ten minutes; goes on where it was stopped.
campaign: .venv/.stamp
	$(BIN)/python tests/campaigns/run.py

# The figures of pages in docs/, from benchmarks/results, and the table of torch's activations in docs/criticality.md.
figures: .venv/.stamp
	$(BIN)/python benchmarks/figures.py
	$(BIN)/python benchmarks/torch_activations.py

# The site, in site/; every link and every public name in it is checked.
docs: .venv/.stamp
	$(BIN)/mkdocs build --strict

demo: .venv/.stamp
	$(BIN)/python examples/demo.py
