#!/bin/sh
# The first process of the namespaces of container_test.go; systemd takes its place. The working directory has:
#   root   what becomes /, with the parts that are writable and last
#   units  all units that there are      local  /usr/local      none  nothing
# Mounts are seen in here only. What could reach beyond the namespaces is read-only, or a capability that is gone.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
mount --bind root root
mount --bind /usr root/usr
mount -o remount,bind,ro root/usr
mount --bind units root/usr/lib/systemd/system
mount --bind none root/usr/lib/systemd/system-generators
mount --bind local root/usr/local
mount -t proc proc root/proc
for part in sys sysrq-trigger; do
	[ -e root/proc/$part ] || continue
	mount --bind root/proc/$part root/proc/$part
	mount -o remount,bind,ro root/proc/$part
done
mount -t sysfs -o ro sysfs root/sys
mount -t cgroup2 cgroup root/sys/fs/cgroup
mount -t tmpfs -o mode=755 run root/run
mount -t tmpfs -o mode=755 dev root/dev
for device in null zero full random urandom tty; do
	cp -a /dev/$device root/dev/
done
mkdir root/run/host
cd root
pivot_root . run/host
umount -l /run/host
rmdir /run/host
# systemd looks at this variable, and does less to a machine that is not its own.
exec env -i container=vublk-test PATH=/usr/local/bin:/usr/bin \
	setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-audit_control,-audit_read,-audit_write,-mac_admin,-mac_override \
	/usr/lib/systemd/systemd --unit=container.target --show-status=no
