#!/bin/sh
# Labels and speed on a GPU: tests of this folder, a short training, and figures last.
#
# Writes OUT/tests.log and OUT/figures.json (out/gpu), also when a test failed. Needs Python 3.10 or
# newer (PYTHON names it) with torch, numpy, opencv, onnx and pytest; tests that need further packages
# are skipped. CAMVID names the folder of the data set for 200 s of training, which needs lightning
# as well. No network, no ROS. Ends with
#   0  all is right and every bar is reached; or no GPU is here, and what runs on a CPU is right
#   1  a test or the training failed, or ran out of time
#   2  the tests passed, a bar was missed
set -u
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-$PWD/out/gpu}
mkdir -p "$OUT"
export OUT PYTHONPATH="$PWD:$PWD/test/gpu${PYTHONPATH:+:$PYTHONPATH}"
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONUNBUFFERED=1
status=0

# failing CUDA calls need no GPU: make test-fake-cuda
timeout 220 "$PYTHON" -m pytest -q -p no:cacheprovider --ignore=test/gpu/test_fake_cuda.py test/gpu >"$OUT/tests.log" 2>&1 || status=1
tail -n 30 "$OUT/tests.log"

if [ -n "${CAMVID:-}" ] && "$PYTHON" -c 'import lightning, torchmetrics' 2>/dev/null; then
    timeout 260 "$PYTHON" -m lemore_core.cli.main train --recipe camvid --model tiny --data "$CAMVID" \
        --no-check --time 200s --output "$OUT/training" >"$OUT/training.log" 2>&1 || status=1
    tail -n 5 "$OUT/training.log"
fi

timeout 100 "$PYTHON" -m gpu_suite.figures
figures=$?
[ "$status" -ne 0 ] && exit 1
exit "$figures"
