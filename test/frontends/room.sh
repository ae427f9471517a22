#!/bin/sh
# The first process of the room in which the tests of this package run (see doc.go); the arguments are the command to run.
# It stays, to wait for processes that have lost their parents, as QEMU has that libvirt starts.
set -e
mount -t tmpfs -o mode=755 room /run
for dir in /var/lib /var/log /var/cache; do
	mount -t tmpfs -o mode=755 room "$dir"
done
# Of the network that is here, and without the machine's cgroups, in which libvirt would make some for its guests.
umount -R /sys
mount -t sysfs room /sys
# Images lie on a disk: on tmpfs there is no O_DIRECT to test.
store=$(mktemp -d "${TMPDIR:-/tmp}/vublk-room.XXXXXX")
trap 'umount /var/lib/vublk; rm -rf "$store"' EXIT
mkdir -p /var/lib/vublk /run/room
chmod 755 "$store"
mount --bind "$store" /var/lib/vublk

# The users and groups that Debian's libvirt-daemon-system makes, which would start services.
for file in passwd group; do
	cp "/etc/$file" "/run/room/$file"
	chmod 644 "/run/room/$file"
	mount --bind "/run/room/$file" "/etc/$file"
done
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
grep -q '^libvirt:' /etc/group || echo 'libvirt:x:64056:' >>/etc/group

mkdir -p /etc/libvirt
mount -t tmpfs -o mode=755 room /etc/libvirt
# No virtlogd, and no confinement by SELinux or AppArmor: who would load their policies here?
printf '%s\n' 'security_driver = "none"' 'stdio_handler = "file"' >/etc/libvirt/qemu.conf

"$@"
