#!/bin/sh
# Runs tests on other Pythons and servers than the machine's usual ones: Debian's own Python, and releases of Debian that
# scripts/debian_root.sh installs; with the word "nightly" those that take long or are not released yet.
#
# What cannot be run here is said; under CI=true that is a failure.
set -eu
cd "$(dirname "$0")/.."
skipped=""

skip() {
  echo "NOT RUN: $1" >&2
  skipped=yes
}

# A world: its Debian, then the arguments of scripts/test_world.sh.
inside() {
  suite=$1
  shift
  sh scripts/debian_root.sh "$suite" sh scripts/test_world.sh "$@"
}

if sh scripts/debian_root.sh sid true && sh scripts/debian_root.sh trixie true; then
  rooted=yes
else
  rooted=""
  skip "the tests on Debian trixie and sid: their roots cannot be made here"
fi

if [ "${1:-}" = nightly ]; then
  if [ -n "$rooted" ]; then
    # shellcheck disable=SC2016 # backquotes of Markdown, here and below
    run='`make test-nightly`'
    inside trixie "$run, Redis 8" python3 /var/venv stores
    SERVER=valkey-server inside trixie "$run, Valkey 8" python3 /var/venv stores
    SERVER=valkey-server inside sid "$run, Valkey 9" python3 /var/venv stores
    # Some dependencies have no wheels for it yet, and are built.
    next="python3.15 python3.15-venv python3.15-dev gcc g++ libc6-dev libcrypt-dev make"
    if PACKAGES=$next sh scripts/debian_root.sh sid true; then
      NEXT=1 inside sid "$run, next Python" python3.15 /var/venv3.15 unit
    else
      skip "the tests on Python 3.15: it could not be installed from Debian sid"
    fi
  fi
else
  # shellcheck disable=SC2016
  run='`make test-versions`'
  if /usr/bin/python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    sh scripts/test_world.sh "$run, system's Python" /usr/bin/python3 .venvs/system unit
  else
    skip "the tests on /usr/bin/python3: it is missing, older than 3.11, or without venv (python3-venv)"
  fi
  if [ -n "$rooted" ]; then
    inside trixie "$run, Debian stable" python3 /var/venv unit
    inside sid "$run, Debian unstable" python3 /var/venv unit stores
  fi
fi
[ -z "$skipped" ] || [ -z "${CI:-}" ]
