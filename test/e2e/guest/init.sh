#!/bin/sh
# First process of a guest. Without vublk.root= on the kernel's command line the
# guest lives in its initramfs; with it, it moves to that disk and runs its /init.
# vublk.init= names a program to become instead of the agent.
export PATH=/tools:/bin HOME=/root
# After the move these three are mounted already.
if [ ! -e /proc/mounts ]; then
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	mount -t devtmpfs dev /dev
fi
mount -t tmpfs tmp /tmp

if [ -f /modules/order ]; then
	while read -r module; do
		insmod "/modules/$module" || echo "init: cannot load $module"
	done </modules/order
fi

root=$(sed -n 's/.*\bvublk\.root=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$root" ] && [ -d /modules ]; then
	n=0
	while [ ! -b "$root" ] && [ $n -lt 100 ]; do
		n=$((n + 1))
		usleep 50000
	done
	mount -t ext4 "$root" /newroot || echo "init: cannot mount $root"
	umount /tmp
	mount --move /proc /newroot/proc
	mount --move /sys /newroot/sys
	mount --move /dev /newroot/dev
	exec switch_root /newroot /init
fi
# Something else may be the first process, and start the agent.
init=$(sed -n 's/.*\bvublk\.init=\([^ ]*\).*/\1/p' /proc/cmdline)
[ -z "$init" ] || exec "$init"
case " $(cat /proc/cmdline) " in
*" vublk.shell "*) exec setsid cttyhack sh ;;
esac
exec /agent
