#!/usr/bin/env bash
# The package is imported from this checkout.
set -euo pipefail
python -m pip install --no-deps --editable .
