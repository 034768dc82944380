#!/usr/bin/env bash
# Installs the Debian packages that a make target calls and that are missing; as an ordinary user
# prints the one command instead. Usage: scripts/deps.sh [run|test|bench]   (default: all of them)
set -euo pipefail
run=(ip:iproute2 unshare:util-linux nsenter:util-linux mount:mount sysctl:procps nft:nftables ping:iputils-ping etcd:etcd-server
  bird:bird2 runsvdir:runit /usr/lib/frr/bgpd:frr)
test=("${run[@]}" setpriv:util-linux etcdctl:etcd-client conntrack:conntrack openssl:openssl systemd-analyze:systemd gobgpd:gobgpd
  qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mkfs.ext4:e2fsprogs)
bench=("${run[@]}" etcdctl:etcd-client ipset:ipset)
case "${1:-all}" in
  run) wanted=("${run[@]}") ;;
  test) wanted=("${test[@]}") ;;
  bench) wanted=("${bench[@]}") ;;
  all) wanted=("${test[@]}" "${bench[@]}") ;;
  *) echo "usage: scripts/deps.sh [run|test|bench]" >&2; exit 2 ;;
esac

missing=()
for pair in "${wanted[@]}"; do
  # Debian keeps administrators' programs where an ordinary user's PATH does not look.
  PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" -ne 0 ]; then
  echo "Missing programs. As root, run:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Packages of etcd, BIRD, FRR and GoBGP would start their services; nothing here uses those, and a routing
# daemon must not run on a machine because its tests need the program.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
