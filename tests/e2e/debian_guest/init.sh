# PID 1 of a Debian guest: mounts what systemd would, runs every file of steps/ in order after
# words.sh, none for more than $limit seconds, and writes of each to the second serial port a
# line `@ NAME STATUS SECONDS`, then what it printed, each line after a `|`.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
$bb mount -t securityfs securityfs /sys/kernel/security
$bb mkdir -p /dev/pts /dev/shm /dev/mqueue
$bb mount -t devpts -o ptmxmode=666 devpts /dev/pts
$bb mount -t mqueue mqueue /dev/mqueue
for place in /dev/shm /tmp /run /var; do $bb mount -t tmpfs -o mode=755 tmpfs $place; done
$bb mkdir -p /var/lib /var/log /var/tmp /run/bin
$bb ln -s /run /var/run
$bb chmod 1777 /tmp /var/tmp /dev/shm
$bb ln -s /proc/self/fd /dev/fd
# Debian's own programs come first.
$bb --install -s /run/bin
export PATH=/usr/sbin:/usr/bin:/run/bin HOME=/root BASE=/story
insmod /lib/modules/*/kernel/fs/overlayfs/overlay.ko
ip link set lo up
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
cd $BASE
stty -F /dev/ttyS1 raw
for step in steps/*; do
  begun=$(date +%s)
  timeout -k 5 $limit sh -eu -c ". ./words.sh; . ./$step" >/tmp/said 2>&1 </dev/null && status=0 || status=$?
  echo "@ ${step#steps/} $status $(($(date +%s) - begun))"
  sed 's/^/|/' /tmp/said
done >/dev/ttyS1
echo '@ end 0 0' >/dev/ttyS1
poweroff -f
