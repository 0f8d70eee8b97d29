.PHONY: test check demo

.venv/.stamp: pyproject.toml
	python3 -m venv .venv
	.venv/bin/python -m pip install -q -e '.[test,dev]'
	touch $@

test: .venv/.stamp
	.venv/bin/python -m pytest -n 2 --dist worksteal -m 'not slow'

# A plain torch may take gigabytes: only the long checks need it.
.venv/.torch: .venv/.stamp
	.venv/bin/python -m pip install -q torch==2.13.0
	touch $@

check: .venv/.torch
	.venv/bin/python -m pytest -n 2 --dist worksteal
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright src

demo: .venv/.stamp
	.venv/bin/python examples/demo.py
