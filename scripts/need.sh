#!/bin/sh
# Installs what the tests need beside Go: socat makes virtual serial ports, node and npm run Medplum's own validator.
set -eu
missing=
command -v socat >/dev/null || missing="$missing socat"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
[ -z "$missing" ] && exit 0
root=
[ "$(id -u)" = 0 ] || root=sudo
if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! command -v sudo >/dev/null; }; then
	echo "please install:$missing (tests that need them are skipped, with a word)" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -q
# shellcheck disable=SC2086
$root apt-get install -q -y --no-install-recommends $missing
