#!/usr/bin/env bash
# Check this package on one CUDA GPU in under 8 minutes: the tests marked gpu, then the measurements of gpu_check.py.
# Needs pytest and the package's own requirements, no data and no weights.
#
#   bash tools/analysis_tools/gpu_check.sh [OUT]              OUT: folder of the results; work_dirs/gpu_check by default
#   bash tools/analysis_tools/gpu_check.sh OUT --rehearse     the same on a CPU, at a small size
set -u
cd "$(dirname "$0")/../.."
OUT=${1:-work_dirs/gpu_check}
PYTHON=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
[ "${2:-}" = --rehearse ] && export MMFSS_TEST_DEVICE=cpu
mkdir -p "$OUT"
START=$SECONDS

timeout 150 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider tests/test_gpu tests/test_engine/test_determinism.py \
    2>&1 | tee "$OUT/tests.log"
TESTS=${PIPESTATUS[0]}

# 7.5 minutes in all; a measurement that has begun gets what is left.
LEFT=$((450 - SECONDS + START))
timeout "$LEFT" "$PYTHON" tools/analysis_tools/gpu_check.py --out "$OUT/gpu_check.json" \
    --minutes "$(((LEFT - 90) / 60)).$((((LEFT - 90) % 60) * 10 / 60))" \
    "${@:2}" 2>&1 | tee "$OUT/measurements.log"
MEASURED=${PIPESTATUS[0]}

echo "tests: $TESTS, measurements: $MEASURED (0: passed; 5: no test was run), $((SECONDS - START)) seconds; see $OUT"
[ "$TESTS" -eq 0 ] && [ "$MEASURED" -eq 0 ]
