#!/bin/busybox sh
# First process of the emulated machine (test/support/emulated-machine.ts): this machine's files, read-only, beneath a
# tmpfs; then `command` of the shared directory, whose output and exit code stay there; then power off.
bb=/bin/busybox
$bb mkdir -p /proc /lower /upper /root
$bb mount -t proc proc /proc
while read -r name; do
  # What this kernel has built in is no file.
  if [ -e "/lib/modules/$name.ko" ]; then $bb insmod "/lib/modules/$name.ko"; fi
done </lib/modules/order
options="trans=virtio,version=9p2000.L,msize=512000"
$bb mount -t 9p -o "$options,ro,cache=loose" files /lower
$bb mount -t tmpfs tmpfs /upper
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
for pair in proc:proc sysfs:sys devtmpfs:dev tmpfs:run; do
  $bb mount -t "${pair%%:*}" "${pair%%:*}" "/root/${pair##*:}"
done
$bb mkdir -p /root/run/shared /root/run/netns /root/lib/modules
$bb mount -t 9p -o "$options,cache=none" shared /root/run/shared
# The kernel calls /sbin/modprobe for what a program asks of it.
$bb cp /bin/busybox /root/sbin/modprobe
exec $bb chroot /root /bin/sh -c '
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
  cd /run/shared
  mount --bind "$(cat modules)" /lib/modules
  ip link set lo up
  sh ./command >output 2>&1
  echo $? >code
  echo o >/proc/sysrq-trigger
  sleep 60
'
