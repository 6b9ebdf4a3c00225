#!/usr/bin/env bash
# Everything that proves the project: style, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/venv.sh
. tools/venv.sh requirements-dev.txt
export PATH="$PWD/.venv/bin:$PATH"
if git rev-parse --git-dir >/dev/null 2>&1; then
  pre-commit run --all-files
else # An unpacked archive has no git, which pre-commit needs.
  ruff check . && ruff format --check . && mypy
fi
# Two processes: much of a test is tracing, which keeps one core busy. A file's tests share fixtures.
# Without its own order, which leaves files of few tests for the end: those of long trainings.
if [ "$#" -eq 0 ]; then set -- -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder; fi
exec python -m pytest -q --durations=15 "$@"
