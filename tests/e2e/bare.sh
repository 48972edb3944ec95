#!/usr/bin/env bash
# Try a fresh clone of HEAD in a Debian that has its own python3, python3-venv, make and git, and nothing else:
#
#   tests/e2e/bare.sh                      Debian 12 (Python 3.11.2): make check test, then make demo
#   SUITE=trixie tests/e2e/bare.sh         the same in Debian 13 (Python 3.13.5)
#   tests/e2e/bare.sh 'make setup && …'    other commands, for the shell, in the clone
#
# Needs root, mmdebstrap, unshare and network. The system's archive and pip's packages are kept in BARE (build/bare), so
# that a second run only unpacks them; remove BARE for newer ones. Mirrors, proxies and pip's settings are the host's;
# MIRROR names another Debian mirror, PIP_CONF another pip.conf, CA_CERT the certificate of a proxy.
set -euo pipefail
suite=${SUITE:-bookworm}
packages=python3,python3-venv,make,git

debian_sources() {  # print the suite's lines for sources.list, from where the host takes Debian; none elsewhere
  # shellcheck disable=SC2016  # $(REPO_URI) is apt's
  label() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Label: $1" 2>/dev/null | head -n 1; }
  main=${MIRROR:-$(label Debian)} security=$(label Debian-Security)
  [ -z "$main" ] || printf 'deb %s %s main\n' "$main" "$suite" "$main" "$suite-updates"
  [ -z "$security" ] || printf 'deb %s %s main\n' "$security" "$suite-security"
}

# pip's own cache is of no use behind mirrors that forbid caching
wheels=/root/.cache/wheels
fetch="python3 -m venv /tmp/fetch && /tmp/fetch/bin/pip download --quiet --no-deps --require-hashes --dest $wheels \
  -r docker/requirements-dev.lock && rm -r /tmp/fetch && export PIP_FIND_LINKS=$wheels"

enter() {  # enter ROOT CACHE COMMAND: run it in the clone; mounts and processes vanish with the namespace
  root=$1 cache=$2 command=$3
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount --bind "$cache" "$root/root/.cache"
  settings=()
  for name in $(compgen -e | grep -E '^(PIP_.*|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY)$' | grep -Ev '^PIP_(CONF|FIND_LINKS)'); do
    settings+=("$name=${!name}")
  done
  exec chroot "$root" /usr/bin/env -i -C /root/dogbreed HOME=/root USER=root "TERM=${TERM:-dumb}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${settings[@]}" /bin/sh -ec "$fetch; $command"
}

if [ "${1:-}" = --enter ]; then enter "${@:2}"; fi

lacks() {
  echo "make bare needs $1" >&2
  exit 69
}
[ "$(id -u)" = 0 ] || lacks "root, to make a Debian and to change into it: sudo make bare"
for tool in mmdebstrap unshare git; do
  command -v "$tool" >/dev/null || lacks "$tool, on Debian and Ubuntu: apt-get install $tool"
done
unshare --mount true || lacks "the right to mount, which containers have with --privileged only"

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
[ -z "$(git -C "$repository" status --porcelain)" ] || echo "what is not committed is not tried" >&2
bare=$(realpath -m "${BARE:-$repository/build/bare}")
usual='make check test && make demo'
mkdir -p "$bare/cache"

if ! [ -s "$bare/$suite.tar" ]; then
  sources=$(debian_sources)
  mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$bare/$suite.part.tar" ${sources:+-} <<< "$sources"
  mv "$bare/$suite.part.tar" "$bare/$suite.tar"
fi

child='' root=$(mktemp -d "$bare/$suite.XXXXXX")
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true; wait; rm -rf "$root"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
tar -xf "$bare/$suite.tar" -C "$root" --exclude './dev/*'
mkdir -p "$root/root/.cache" "$root/root/.config/pip"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
[ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
for settings in "${PIP_CONF:-}" ~/.config/pip/pip.conf ~/.pip/pip.conf; do
  if [ -f "$settings" ]; then cp "$settings" "$root/root/.config/pip/" && break; fi
done
CA_CERT=${CA_CERT:-${PIP_CERT:-}}
if [ -n "$CA_CERT" ]; then
  install -D -m 644 "$CA_CERT" "$root$(realpath -s "$CA_CERT")"
  PIP_CERT=$(realpath -s "$CA_CERT")
  export PIP_CERT
fi
git clone --quiet "$repository" "$root/root/dogbreed"
git -C "$root/root/dogbreed" checkout --quiet "$(git -C "$repository" rev-parse HEAD)"
chroot "$root" python3 -c 'import platform; print(platform.freedesktop_os_release()["PRETTY_NAME"], "with Python", platform.python_version())'
unshare --mount --pid --fork --kill-child -- "$0" --enter "$root" "$bare/cache" "${*:-$usual}" &
child=$!
wait "$child"
