#!/bin/sh
# Installs the Debian and Ubuntu libraries that the wheels do not carry: the window and the sound card need
# them, the command line does not. So this never fails; where it cannot install, it says what to type.
set -u
here=$(dirname "$0")
if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "Not a Debian-like system: the window needs the libraries of packaging/system-packages.txt." >&2
    exit 0
fi

missing=""
while read -r package; do
    # Debian 13 and Ubuntu 24.04 renamed some of them: libglib2.0-0t64.
    for name in "$package" "${package}t64"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q "ok installed" && continue 2
    done
    missing="$missing $package"
done <"$here/system-packages.txt"
[ -z "$missing" ] && exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
    # Never wait for a password inside make.
    if sudo -n true 2>/dev/null; then sudo="sudo -n"; else sudo="cannot"; fi
fi
# shellcheck disable=SC2086  # $missing and $sudo are lists of words
if [ "$sudo" = cannot ] || ! {
    $sudo apt-get update -q >/dev/null &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
}; then
    echo "For the window, install these as root:  apt-get install$missing" >&2
fi
exit 0
