#!/bin/sh
# What only a GPU can tell: are the labels right there, and how fast do they come?
#
# Runs the tests of this folder, then prints the figures of one GPU and writes them to
# OUT/figures.json (out/gpu). Needs Python 3.10 or newer (PYTHON names it) with torch, numpy,
# opencv, onnx and pytest; tests whose further packages are missing are skipped. No network, no
# ROS. Ends with
#   0  all is right and every bar is reached; or no GPU is here, and what runs on a CPU is right
#   1  a test failed
#   2  the tests passed, a bar was missed
set -eu
cd "$(dirname "$0")/../.."
PYTHONPATH="$PWD:$PWD/test/gpu${PYTHONPATH:+:$PYTHONPATH}"
PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
LEMORE_GPU_SUITE=1
export PYTHONPATH PYTEST_DISABLE_PLUGIN_AUTOLOAD LEMORE_GPU_SUITE
"${PYTHON:-python3}" -m pytest -q -p no:cacheprovider test/gpu || exit 1
exec "${PYTHON:-python3}" -m gpu_suite
