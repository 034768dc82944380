#!/usr/bin/env bash
# Installs the Debian packages that Margay's tests, lab and benchmarks call; prints the command when not root.
set -euo pipefail
declare -A package_of=(
  [nft]=nftables [ip]=iproute2 [iptables]=iptables [ipset]=ipset [conntrack]=conntrack
  [etcd]=etcd-server [etcdctl]=etcd-client [tcpdump]=tcpdump [openssl]=openssl
  [unshare]=util-linux [ping]=iputils-ping [newuidmap]=uidmap [pgrep]=procps [jq]=jq
)
missing=()
for tool in "${!package_of[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # The etcd-server package starts a service where an init system runs; nothing here uses that one.
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "Missing programs. As root, run:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  [ "${MARGAY_DEPS_OPTIONAL:-}" = 1 ] || exit 1
fi
