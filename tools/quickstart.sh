#!/usr/bin/env bash
# The whole road on the embedded digits: two teachers, an STD student, its baseline, evaluation,
# SavedModel and TFLite. Needs Python 3.11-3.13 and a package index, nothing else.
set -euo pipefail
case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit
    ;;
  *)
    echo "error: tools/quickstart.sh takes no $1; --help says what it does" >&2
    exit 2
    ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/venv.sh
. tools/venv.sh requirements.txt
exec .venv/bin/python -m tools.quickstart "$@"
