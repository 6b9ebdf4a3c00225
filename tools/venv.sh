# Sourced by the other scripts: makes .venv and installs a requirements file into it, once.
# Usage: . tools/venv.sh REQUIREMENTS_FILE     (from the repository's root)

_pick_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
      2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found; set PYTHON=/path/to/it" >&2
  return 2
}

_install() {
  local requirements=$1 python stamp
  if [ ! -x .venv/bin/python ]; then
    python=$(_pick_python) || return 2
    echo "making .venv with $("$python" --version)"
    "$python" -m venv .venv || {
      echo "error: $python cannot make a virtual environment; on Debian: apt install python3-venv" >&2
      return 2
    }
  fi
  stamp=.venv/.installed-$(cat requirements.txt "$requirements" | cksum | tr ' ' -)
  [ -e "$stamp" ] && return 0
  echo "installing $requirements into .venv (about 2 GB; minutes, once)"
  if ! .venv/bin/python -m pip install --disable-pip-version-check -q -r "$requirements" \
    >.venv/install.log 2>&1; then
    tail -n 20 .venv/install.log >&2
    echo "error: the installation failed; the whole log is .venv/install.log" >&2
    return 2
  fi
  touch "$stamp"
}

_install "$1"
