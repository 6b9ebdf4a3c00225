#!/usr/bin/env bash
# The whole road on the embedded digits: two teachers, an STD student, its baseline, evaluation,
# SavedModel and TFLite. Needs Python 3.11-3.13 and a package index, nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/venv.sh
. tools/venv.sh requirements.txt
exec .venv/bin/python -m tools.quickstart "$@"
