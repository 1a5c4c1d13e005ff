# The first program of a Debian guest: sets up what Debian's installer and the packages' own
# scripts would have, and gives way to systemd, which runs steps.sh and nothing that it does not
# need for that.
bb=/bin/busybox
$bb mount -t proc proc /proc
for place in /tmp /run /var; do $bb mount -t tmpfs -o mode=755 tmpfs $place; done
$bb mkdir -p /var/lib /var/log /var/tmp /run/bin /home /etc/pam.d
$bb ln -s /run /var/run
$bb chmod 1777 /tmp /var/tmp
# Debian's own programs come first.
$bb --install -s /run/bin
export PATH=/usr/sbin:/usr/bin:/run/bin
insmod /lib/modules/*/kernel/fs/overlayfs/overlay.ko
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
echo 'messagebus:x:100:100::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
echo 'messagebus:x:100:' >>/etc/group
# Somebody who is not root, with a manager of his own and ids to give away.
echo 'sailor:x:1000:1000::/home/sailor:/bin/sh' >>/etc/passwd
echo 'sailor:x:1000:' >>/etc/group
echo 'sailor:100000:65536' | tee /etc/subuid >/etc/subgid
install -d -o 1000 -g 1000 /home/sailor
printf 'account required pam_permit.so\nsession required pam_permit.so\nsession required pam_systemd.so\n' \
  >/etc/pam.d/systemd-user
printf '%s required pam_deny.so\n' auth account password session >/etc/pam.d/other
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
  systemd-udev-trigger.service systemd-hwdb-update.service systemd-firstboot.service \
  systemd-sysusers.service systemd-random-seed.service systemd-pstore.service \
  systemd-modules-load.service systemd-journal-catalog-update.service systemd-update-done.service \
  systemd-update-utmp.service systemd-machine-id-commit.service systemd-binfmt.service \
  systemd-remount-fs.service systemd-timesyncd.service systemd-ask-password-console.path \
  systemd-boot-system-token.service proc-sys-fs-binfmt_misc.automount; do
  ln -s /dev/null /etc/systemd/system/$unit
done
cp /story/story.service /story/story.target /etc/systemd/system
exec /lib/systemd/systemd --unit=story.target
