# `make` alone lists the targets. Everything runs in .venv, which `make env`
# creates, fills and, when something has changed, brings up to date.

# May be given on the command line or in the environment.
PYTHON ?= python3
DEVICE ?=
STACK ?=
TORCH ?=
TORCH_INDEX ?=
MMCV ?=
MMCV_WHEELS ?=
FUZZ_CASES ?= 10000
FUZZ_SECONDS ?= 0
PYTEST_ARGS ?=
# Processes that share the tests, each with one thread of torch.
TEST_JOBS ?= 2

# torch's threads spin while they wait. Where another process wants the cores,
# that makes a step ten times slower; a short spin costs a few percent.
export GOMP_SPINCOUNT ?= 1000

VENV_PYTHON := .venv/bin/python
DEMO_CONFIG := configs/mmdet/mask_rcnn_tinyvim_b_1x_coco.py
DEMO_THINGS := data/sample/imagenet/val/dog/000000404484_7981.jpg data/sample/imagenet/train/dog/000000442450_10073.jpg
DEMO_STREETS := $(addprefix data/sample/coco/val2017/000000,184324.jpg 261888.jpg)

# Only a Python that somebody named replaces an environment of another version.
SETUP_ARGS := $(if $(filter file,$(origin PYTHON)),,--python '$(PYTHON)') \
  $(if $(DEVICE),--device '$(DEVICE)') \
  $(if $(STACK),--stack '$(STACK)') \
  $(if $(TORCH),--torch '$(TORCH)') \
  $(if $(TORCH_INDEX),--torch-index '$(TORCH_INDEX)') \
  $(if $(MMCV),--mmcv '$(MMCV)') \
  $(if $(MMCV_WHEELS),--mmcv-wheels '$(MMCV_WHEELS)')
# PYTHON may be a mere version, which uv finds or fetches.
SETUP_PYTHON = $(if $(shell command -v '$(PYTHON)'),$(PYTHON),python3)

.PHONY: help env demo test test-all test-gpu test-asan test-matrix fuzz check-install lint clean

help:
	@echo 'make env       create or update .venv: torch and torchvision, mmcv, the toolboxes'
	@echo 'make demo      env, then predictions of the small trained models of this package, then'
	@echo '               train Mask R-CNN with TinyViM-B on the sample photographs'
	@echo 'make test      env, then the linters and the tests that are quick   [PYTEST_ARGS="-k scan"]'
	@echo 'make test-all  the same with all tests: trainings end to end, every shape, fuzzing'
	@echo 'make test-gpu  build for the GPU here, run its tests and the benchmark; no network needed'
	@echo 'make test-asan env, then the operator under AddressSanitizer and UBSan'
	@echo 'make test-matrix  the core tests in clean environments: stacks, Pythons, torches; hours'
	@echo '                  [MATRIX_ARGS="--only torch-only"]'
	@echo 'make fuzz      env, then readers, operators and arguments with 10,000 other cases each'
	@echo '               [FUZZ_CASES=500] [FUZZ_SECONDS=3600: rounds, until so long is over]'
	@echo 'make check-install  env, then wheel and sdist in clean environments'
	@echo 'make lint      env, then the linters: ruff, and import-linter for the floors'
	@echo 'make clean     remove .venv, builds and caches; compiled mmcv wheels (.cache/wheels),'
	@echo '               data, weights, results and what uv keeps for all projects stay'
	@echo
	@echo 'Variables: PYTHON=python3.12   Python to make .venv from (3.10 to 3.14), or a mere version'
	@echo '           DEVICE=cpu|cuda     instead of looking for a GPU'
	@echo '           STACK=onedl|openmmlab   family of OpenMMLab packages'
	@echo '           TORCH=2.13.0        another torch, with the torchvision that fits it'
	@echo '           TORCH_INDEX=URL     package index for torch, or pip for what pip finds'
	@echo '           MMCV=torchvision|compiled   mmcv on the operators of torchvision, or compiled'
	@echo '           MMCV_WHEELS=DIR     folder with compiled wheels of mmcv'

env:
	@$(SETUP_PYTHON) tools/setup_env --quiet $(SETUP_ARGS)

demo: env
	$(VENV_PYTHON) tools/demo.py $(DEMO_STREETS) --model camvid --out work_dirs/predictions/camvid
	$(VENV_PYTHON) tools/demo.py $(DEMO_THINGS) --model imagenette \
	  --out work_dirs/predictions/imagenette
	$(VENV_PYTHON) tools/train.py $(DEMO_CONFIG) --sample --work-dir work_dirs/demo

PYTEST = OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(TEST_JOBS) --dist loadfile

test: lint
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

test-all: lint
	$(PYTEST) $(PYTEST_ARGS)

# Takes the Python it finds, not `env`: GPU machines often have no network.
test-gpu:
	PYTHON=$(if $(wildcard $(VENV_PYTHON)),$(VENV_PYTHON),$(PYTHON)) bash tools/test_gpu.sh

test-asan: env
	PYTHON=$(VENV_PYTHON) bash tools/test_asan.sh

# In clean environments under .cache/matrix; results in docs/matrix.json and docs/testing.md.
test-matrix:
	$(PYTHON) tools/test_matrix.py --fill docs/testing.md $(MATRIX_ARGS)

# Other cases in each round; one round, or as many as begin within FUZZ_SECONDS.
fuzz: env
	end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); while \
	  FUZZ_CASES=$(FUZZ_CASES) $(VENV_PYTHON) -m pytest tests/test_fuzz tests/test_reliability \
	    tests/test_hostile_checkpoints.py --hypothesis-profile=thorough -rP $(PYTEST_ARGS) || exit 1; \
	  [ $$(date +%s) -lt $$end ]; do :; done

check-install: env
	PYTHON=$(VENV_PYTHON) bash tools/check_install.sh

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/lint-imports --no-logo --no-cache

clean:
	rm -rf .venv .cache/tmp .cache/logs build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find tinyvim_mm configs kernels tools tests -name __pycache__ -prune -exec rm -rf {} +
	find tinyvim_mm -name '*.so' -delete
