#!/bin/sh
# Makes .venv with exactly the packages of requirements.lock, once: `make setup`. Needs Python 3.11 or newer, and no root.
# PYTHON names another interpreter than the first that fits.
set -eu
cd "$(dirname "$0")/.."

# The environment holds absolute paths, so a copied tree needs its own.
stamp=.venv/.set-up
wanted="$(cat requirements.lock pyproject.toml "$0" | cksum) $(pwd -P)"
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

say() { printf '%s\n' "$*" >&2; }

give_up() {
  say "$*"
  exit 1
}

find_python() {
  for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  give_up "Yitong needs Python 3.11 or newer: on Debian 12 install python3 and python3-venv, or set PYTHON."
}

make_environment() {
  say "[1/3] .venv with $("$python" --version) from $python"
  if [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    return
  fi
  rm -rf .venv
  # Debian splits ensurepip off into python3-venv; a pip outside the environment can serve it too.
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv .venv
  elif "$python" -m pip --python "$python" --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip .venv
  else
    give_up "$python can make no environment: install python3-venv (apt-get install python3-venv) and try again."
  fi
}

pip() {
  if .venv/bin/python -c 'import pip' 2>/dev/null; then
    .venv/bin/python -m pip "$@"
  else
    "$python" -m pip --python .venv/bin/python "$@"
  fi
}

# The machine's settings of pip are kept, since its way to the packages may be among them; those that would change what
# is installed are not. The hashes decide what is accepted, wherever it comes from.
pip_of_machine() (
  unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_DRY_RUN PIP_REQUIREMENT PIP_EDITABLE PIP_UPGRADE PIP_FORCE_REINSTALL PIP_REPORT
  export PIP_CONSTRAINT=/dev/null PIP_BUILD_CONSTRAINT=/dev/null PIP_USER=0 PIP_NO_BINARY=:none: PIP_ONLY_BINARY=:none:
  pip "$@"
)

pip_alone() (
  for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
  export PIP_CONFIG_FILE=/dev/null
  pip "$@"
)

# Shows what pip is at in one line on a terminal, and keeps everything in the log.
progress() {
  total=$(grep -c '^[a-z].*==' requirements.lock)
  count=0
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    case "$line" in Collecting*) count=$((count + 1)) ;; esac
    if [ -t 2 ]; then
      printf '\r\033[K[2/3] %s of %s: %.60s' "$count" "$total" "$line" >&2
    fi
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

install() {
  how=$1
  shift
  { "$how" install --disable-pip-version-check --no-input "$@" 2>&1 || touch "$failed"; } | progress
  if [ -e "$failed" ]; then
    rm -f "$failed"
    return 1
  fi
}

install_locked() {
  say "[2/3] $(grep -c '^[a-z].*==' requirements.lock) packages of requirements.lock, each checked against its hash (about a minute)"
  # The lock is complete, so nothing is resolved and nothing beside it comes in; Python compiles what is used when it is used.
  set -- --no-compile --no-deps --require-hashes -r requirements.lock
  install pip_of_machine "$@" || install pip_alone "$@" || {
    tail -n 15 "$log" >&2
    give_up "pip could not install the locked packages; all it said is in $log."
  }
}

install_project() {
  say "[3/3] the command .venv/bin/yitong"
  install pip_alone --no-index --no-deps --no-build-isolation -e . || {
    tail -n 15 "$log" >&2
    give_up "The project itself could not be installed; all pip said is in $log."
  }
}

python=$(find_python)
make_environment
log=.venv/set-up.log
failed=.venv/.failed
rm -f "$log" "$failed"
install_locked
install_project
printf '%s' "$wanted" >"$stamp"
say "Ready."
