#!/usr/bin/env bash
# Install what `make image` needs on Debian or Ubuntu: buildah builds the image without a daemon,
# debootstrap makes the base image where no container registry can be reached. Needs root.
set -euo pipefail
packages=(buildah debootstrap debian-archive-keyring ca-certificates)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "image: install ${missing[*]} first, for example: sudo $0" >&2
  exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}"
