#!/usr/bin/env bash
# Fetches Debian's kernel and makes the small initramfs that boots it, into .cache/kernel, for tests in an
# emulated machine (test/support/emulated-machine.ts). Nothing of it is installed on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=.cache/kernel
rm -rf "$dir" && mkdir -p "$dir/boot/bin" "$dir/boot/lib/modules" && cd "$dir"

fetch() {
  package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p')
  [ -n "$package" ] && apt-get download -qq "$package" 2>/dev/null
}
# The lists may be missing, or older than what is to be had.
fetch || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && fetch; } || {
  echo "scripts/kernel.sh: apt cannot fetch Debian's linux-image-amd64: run apt-get update as root, then again" >&2
  exit 1
}
dpkg -x "$package"_*.deb tree
rm "$package"_*.deb
version=${package#linux-image-}
mv "tree/boot/vmlinuz-$version" vmlinuz
mkdir -p lib/modules && mv "tree/lib/modules/$version" lib/modules/ && rm -r tree
# A machine without devices needs a quarter of them.
(cd "lib/modules/$version/kernel" && rm -rf sound && find drivers -mindepth 1 -maxdepth 1 ! -name net ! -name virtio ! -name block -exec rm -rf {} +)
busybox depmod -b . "$version"

# Only what it takes to reach this machine's files; the rest is loaded from there.
cp "$(command -v busybox)" boot/bin/busybox
cp ../../scripts/emulated-init.sh boot/init && chmod 755 boot/init
boot_modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p overlay)
for name in "${boot_modules[@]}"; do
  find lib/modules -name "$name.ko" -exec cp {} boot/lib/modules/ \;
done
printf '%s\n' "${boot_modules[@]}" >boot/lib/modules/order
(cd boot && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >initramfs.new
rm -r boot && mv initramfs.new initramfs
