#!/bin/sh
# What only a GPU can tell: are the labels right there, and how fast do they come?
#
# Needs Python 3.10 or newer (PYTHON names it) with torch, triton, numpy, onnx, onnxruntime, opencv
# and pytest; no network, no ROS, no TensorRT. Takes less than 8 minutes on one GPU. Writes
# figures.json and figures.md to OUT (out/gpu). Ends with
#   0  all is right and every bar is reached; or no GPU is here, and what runs on a CPU is right
#   1  a test failed
#   2  the tests passed, a bar was missed
set -eu
cd "$(dirname "$0")/../.."
PYTHONPATH="$PWD:$PWD/test/gpu${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
exec "${PYTHON:-python3}" -m gpu_suite "$@"
