#!/bin/sh
# Runs tests with another Python, other versions or other servers than `make test`, in an environment of its own:
#
#   sh scripts/test_world.sh NAME PYTHON VENV [unit] [stores]
#
# NAME is the first cell of its row in docs/reference/compatibility-table.md. SERVER names a program to use as
# redis-server; MINIMUM=1 takes the lowest declared version of every run-time dependency; NEXT=1 is for a
# Python that dependencies may not be made for yet: what they do that it deprecates is no failure.
set -eu
cd "$(dirname "$0")/.."
name=$1 python=$2 venv=$3
shift 3
stores="tests/live/stores/test_conformance.py tests/live/stores/test_redis.py tests/live/stores/test_memcached.py tests/live/stores/test_batching.py \
  tests/live/stores/test_denial_cache.py tests/live/web/test_responses.py tests/live/cli/test_commands.py tests/live/stores/test_pool.py"

echo "== $name: $("$python" -V), $* =="
if ! cmp -s pyproject.toml "$venv/installed.toml"; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --upgrade "pip>=25.1"
  "$venv/bin/python" -m pip install -q -e ".[all]" --group test
  if [ -n "${MINIMUM:-}" ]; then
    echo "pip will name tools that want newer versions of these; no test that follows uses what they want:"
    "$venv/bin/python" scripts/minimum_versions.py >"$venv/minimum.txt"
    "$venv/bin/python" -m pip install -q -e ".[all]" --group minimum -c "$venv/minimum.txt"
  fi
  cp pyproject.toml "$venv/installed.toml"
fi

programs=""
if [ -n "${SERVER:-}" ]; then
  programs=$(mktemp -d)
  trap 'rm -rf "$programs"' EXIT
  ln -s "$(command -v "$SERVER")" "$programs/redis-server"
  PATH="$programs:$PATH"
fi
# redis-py 6.0 gives itself an argument that it warns of.
warnings="ignore:Call to '__init__':DeprecationWarning"
[ -z "${NEXT:-}" ] || warnings=default::DeprecationWarning
tests() {
  "$venv/bin/python" -m pytest -q -p no:cacheprovider -W "$warnings" "$@"
}

for kind in "$@"; do
  if [ "$kind" = unit ]; then
    tests -n 2 -m "not live and not slow"
  else
    # shellcheck disable=SC2086 # a list of files
    tests -n 2 $stores
  fi
done
"$venv/bin/python" scripts/compatibility.py "$name" "$@"
