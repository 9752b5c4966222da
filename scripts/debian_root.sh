#!/bin/sh
# Runs a command in a Debian of another release, at this folder: sh scripts/debian_root.sh sid python3 -V
#
# The release is installed once, into .roots/SUITE, by debootstrap from the mirror that apt uses here; without a command
# nothing else happens. PACKAGES names more packages, which are added to it. All mounts are made in a namespace that
# ends with the last process in it: none stays behind, however this ends. Status 69: such roots cannot be made here.
set -eu

suite=$1
shift
checkout=$(cd "$(dirname "$0")/.." && pwd)
root="$checkout/.roots/$suite"
base="python3 python3-venv redis-server valkey-server memcached"

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null || ! unshare --mount true 2>/dev/null; then
  echo "A root of Debian $suite takes root's rights, apt-get, and leave to mount in a namespace of one's own." >&2
  exit 69
fi
if [ -z "${IN_NAMESPACE_OF_ROOT:-}" ]; then
  IN_NAMESPACE_OF_ROOT=$suite exec unshare --mount sh "$0" "$suite" "$@"
fi

if ! command -v debootstrap >/dev/null; then
  wait="-o DPkg::Lock::Timeout=300"  # another apt-get may be at work
  # shellcheck disable=SC2086 # an option and its value
  apt-get $wait update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get $wait install -y -qq --no-install-recommends debootstrap >/dev/null
fi

if [ "$(cat "$root/made-of" 2>/dev/null)" != "$base" ]; then
  # shellcheck disable=SC2016 # apt-get's own variables
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 -E '/debian/?$') ||
    mirror=http://deb.debian.org/debian
  echo "Installing Debian $suite into $root from $mirror"
  rm -rf "$root" "$root.part"
  mkdir -p "$root.part"
  debootstrap --variant=minbase --include="$(echo "$base" | tr ' ' ,)" "$suite" "$root.part" "$mirror" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log" >&2
    exit 1
  }
  echo "$base" >"$root.part/made-of"
  mv "$root.part" "$root"
fi

# What is here is there too, at the same path.
share() {
  [ -e "$1" ] && [ "$1" != / ] || return 0
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
  else
    mkdir -p "$root$(dirname "$1")"
    : >>"$root$1"
  fi
  mount --bind "$1" "$root$1"
}

mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
share "$checkout"
for path in /etc/resolv.conf /etc/hosts; do
  share "$path"
done
# pip's configuration, and the files and folders that are named in it or in the environment; of an index on disk also
# what lies beside its folder "simple".
HOME=${HOME:-/root}
for path in /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip" "${PIP_CONFIG_FILE:-}"; do
  share "$path"
done
named=$({
  env | grep -E '^(PIP_[A-Z_]*|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)='
  find /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip" "${PIP_CONFIG_FILE:-/etc/pip.conf}" -type f \
    -exec cat {} + 2>/dev/null
} | sed -e '/^ *#/d' -e 's|file://||g' -e 's|[a-z+]*://[^ ]*||g' -e 's#/simple/*\( \|$\)#\1#g' | grep -o '/[^ ,]*' | sort -u) || true
for path in $named; do
  share "$path"
done

enter() {
  # shellcheck disable=SC2016 # the inner shell's own arguments
  env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TMPDIR=/tmp DEBIAN_FRONTEND=noninteractive \
    chroot "$root" sh -c 'cd "$1" && shift && exec "$@"' sh "$checkout" "$@"
}

missing=""
for package in ${PACKAGES:-}; do
  [ -e "$root/var/lib/dpkg/info/$package.list" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "Adding$missing to Debian $suite"
  enter apt-get update -qq -o Acquire::Check-Valid-Until=false  # a mirror may lag, which debootstrap takes too
  # shellcheck disable=SC2086 # a list of package names
  enter apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
[ $# -eq 0 ] || enter "$@"
