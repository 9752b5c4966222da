#!/bin/sh
# Installs the programs that the tests start, where they are missing: redis-server, memcached, the browser
# chromium, npm, which brings what checks the browser module, and nginx; with the word "all" also those of the whole server matrix: Apache with mod_wsgi (on Debian).
set -eu

missing=""
for program in redis-server memcached chromium npm nginx; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ "${1:-}" = all ] && command -v apt-get >/dev/null 2>&1 && [ ! -e /usr/lib/apache2/modules/mod_wsgi.so ]; then
  # Debian's Python is older than 3.11.3 on some releases, where redis-py needs async_timeout.
  missing="$missing apache2-bin libapache2-mod-wsgi-py3 python3-async-timeout"
fi
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
  become=""
  if [ "$(id -u)" -ne 0 ]; then
    become="sudo"
    command -v sudo >/dev/null 2>&1 || {
      echo "The tests start real programs, and these are missing:$missing." >&2
      echo "Installing them takes root or sudo: run 'apt-get install$missing' as root." >&2
      exit 1
    }
  fi
  echo "Installing$missing with apt-get"
  wait="-o DPkg::Lock::Timeout=300"  # another apt-get may be at work
  # shellcheck disable=SC2086 # an option and its value
  $become apt-get $wait update -qq
  # shellcheck disable=SC2086 # a list of package names; the services need not run
  $become env DEBIAN_FRONTEND=noninteractive apt-get $wait install -y -qq --no-install-recommends $missing >/dev/null
elif command -v brew >/dev/null 2>&1; then
  # Its chromium is not put on the PATH: without one of your own, the tests in the browser are skipped.
  missing=$(echo "$missing" | sed 's/redis-server/redis/; s/ npm/ node/; s/ chromium//')
  # shellcheck disable=SC2086
  [ -z "$missing" ] || brew install -q $missing
else
  echo "The tests start real programs, and these are missing:$missing." >&2
  echo "There is neither apt-get nor brew here: install them by hand, so that they are on the PATH." >&2
  exit 1
fi
