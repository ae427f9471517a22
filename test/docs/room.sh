#!/bin/sh
# The first process of the room in which a page's commands run (see doc.go); the arguments are the command to run. What is
# written below /run and /var/lib is gone afterwards, and so is what runs; the network has nobody else on it.
set -e
mount -t tmpfs -o mode=755 room /run
mkdir -p /run/upper /run/work
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work room /var/lib
# Images lie on a disk: on tmpfs there is no O_DIRECT.
mkdir -p /var/lib/vublk "$PWD/var"
mount --bind "$PWD/var" /var/lib/vublk
ip link set lo up
"$@"
