#!/bin/sh
# Install what is missing on a bare Debian 12: Debian packages (with sudo only when not root), and a virtual environment
# made with Debian's own Python. Repeating it does no harm and, when nothing is missing, takes a second.
#   tools/setup.sh run|test
set -eu
cd "$(dirname "$0")/.."

packages="python3 python3-venv kamailio kamailio-python3-modules kamailio-sqlite-modules kamailio-postgres-modules
kamailio-tls-modules kamailio-extra-modules"
extra=""
if [ "${1:-run}" = test ]; then
	packages="$packages sip-tester postgresql iproute2 procps"
	extra="[test]"
fi

missing=""
for package in $packages; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
	sudo=""
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || { echo "Missing packages:$missing. Install them as root, or install sudo." >&2; exit 1; }
		sudo=sudo
	fi
	echo "Installing Debian packages:$missing"
	# A daemon of the package would take the default ports; only what is ours is started, and only by us.
	policy=/usr/sbin/policy-rc.d
	made=""
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
		$sudo chmod 755 "$policy"
		made=yes
	fi
	status=0
	{ $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } || status=$?
	[ -z "$made" ] || $sudo rm -f "$policy"
	[ "$status" -eq 0 ] || { echo "apt-get failed; the messages above say why." >&2; exit "$status"; }
fi

if [ ! -x .venv/bin/python ]; then
	echo "Making the virtual environment .venv"
	/usr/bin/python3 -m venv .venv
fi
# The stamp holds what was installed, so that a change of pyproject.toml or from run to test installs again.
wanted="$(sha256sum pyproject.toml | cut -d' ' -f1) $extra"
stamp=.venv/.installed
if ! { [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp"; }; then
	echo "Installing Python packages into .venv"
	.venv/bin/pip install --quiet --disable-pip-version-check ".$extra"
	echo "$wanted" >>"$stamp"
fi
