#!/bin/sh
# Installs what the tests run beside them: RabbitMQ, Redis and, with --promtool, Prometheus's
# rule checker. Does nothing where all of it is there. No service is started: the tests start
# their own in temporary folders.
#
# Installing needs root on Debian or a relative of it. Elsewhere the script says what is missing;
# that is fine on a laptop (the tests skip), and a failure where CI is set (they would fail).
set -eu
cd "$(dirname "$0")/.."

promtool=.stamps/promtool
with_promtool=no
for argument in "$@"; do
  case $argument in
    --promtool) with_promtool=yes ;;
    *) echo "usage: $0 [--promtool]" >&2; exit 2 ;;
  esac
done

missing=
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v openssl >/dev/null || missing="$missing openssl"
lacks_promtool=no
if [ "$with_promtool" = yes ] && [ ! -x "$promtool" ] && ! command -v promtool >/dev/null; then
  lacks_promtool=yes
fi
if [ -z "$missing" ] && [ "$lacks_promtool" = no ]; then
  exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Not installed:$missing$([ "$lacks_promtool" = no ] || echo ' promtool')"
  [ -z "$missing" ] || echo "  as root on Debian or Ubuntu: apt-get install --no-install-recommends$missing"
  [ "$lacks_promtool" = no ] || echo "  promtool is part of Prometheus: https://prometheus.io/download/"
  [ -z "${CI:-}" ] || exit 1
  echo "The tests that need them will be skipped."
  exit 0
fi

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
if [ -n "$missing" ]; then
  # Debian starts a service when it installs it, unless this file says 101 ("not allowed").
  policy=/usr/sbin/policy-rc.d
  kept=$(mktemp -d)
  restore() {
    rm -f "$policy"
    [ ! -e "$kept/policy-rc.d" ] || mv "$kept/policy-rc.d" "$policy"
    rm -rf "$kept"
  }
  trap restore EXIT
  trap 'exit 1' HUP INT TERM
  [ ! -e "$policy" ] || mv "$policy" "$kept/policy-rc.d"
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  # shellcheck disable=SC2086 # a list of package names
  apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
if [ "$lacks_promtool" = yes ]; then
  # Unpacked and not installed: the package would bring the Prometheus server as a service.
  unpacked=$(mktemp -d)
  (cd "$unpacked" && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg-deb -x prometheus_*.deb .)
  mkdir -p .stamps
  cp "$unpacked/usr/bin/promtool" "$promtool"
  rm -rf "$unpacked"
fi
echo "Installed:$missing$([ "$lacks_promtool" = no ] || echo " $promtool")"
