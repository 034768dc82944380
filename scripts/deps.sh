#!/usr/bin/env bash
# Installs the Debian packages that a make target calls and that are missing; as an ordinary user
# prints the one command instead. Usage: scripts/deps.sh [run|test|bench]   (default: all of them)
set -euo pipefail
run=(ip:iproute2 unshare:util-linux nsenter:util-linux mount:mount sysctl:procps nft:nftables ping:iputils-ping)
test=("${run[@]}" setpriv:util-linux etcd:etcd-server etcdctl:etcd-client conntrack:conntrack openssl:openssl bird:bird2
  qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mkfs.ext4:e2fsprogs)
bench=("${run[@]}" etcd:etcd-server etcdctl:etcd-client ipset:ipset bird:bird2)
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
# The etcd-server and bird2 packages start services where an init system runs; nothing here uses those.
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
