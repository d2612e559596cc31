#!/usr/bin/env bash
# Installs what building and testing need and a fresh Debian machine lacks. Says what it does; does
# nothing where all is there.
set -euo pipefail

missing=()
have() { command -v "$1" >/dev/null 2>&1; }
have cc || missing+=(build-essential)
have make || missing+=(make)
have python3 || missing+=(python3)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
have node || missing+=(nodejs)
have curl || missing+=(curl)
have openssl || missing+=(openssl)
# The broker that tests of MQTT start for themselves, and its clients.
PATH="$PATH:/usr/sbin" have mosquitto || missing+=(mosquitto)
have mosquitto_pub || missing+=(mosquitto-clients)

if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}" >&2
  as_root=()
  if [[ $(id -u) != 0 ]]; then
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
fi

have cargo || {
  echo "setup: cargo is missing; install Rust from https://rustup.rs" >&2
  exit 1
}
