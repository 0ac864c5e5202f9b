#!/bin/bash
# Linux 6.1 (Debian 12's linux-image-amd64), init/initramfs.c: a file in a second archive whose name is
# a hard link in the first.
#
# Guess:    as with cpio and tar the later file replaces the name that it has; the link's other names
#           keep the first archive's content.
# Behaviour: the kernel opens the existing name and truncates it: the content, owner, mode and time of
#           the other name change too. Of a directory in both archives, the mode is the second
#           archive's, but the time is the first one's: times are set at the end, in reverse order.
# Why here: linking equal files in a boot image, as dracut does, changes what an overlay that the boot
#           loader or ostree appends does to them.
# Seen:     a: two, b: two (one inode in the first archive); d: mode 700 and time 1000000000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq "$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }')" 2>/dev/null
dpkg-deb -x linux-image-*.deb kernel
kernel=$(ls kernel/boot/vmlinuz-6.1.*)
mkdir -p one/bin one/d two/d
cp /usr/bin/busybox one/bin/busybox 2>/dev/null || cp /bin/busybox one/bin/busybox
cat >one/init <<'END'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc
echo "a: $(/bin/busybox cat /d/a), b: $(/bin/busybox cat /d/b); d: mode $(/bin/busybox stat -c %a /d) and time $(/bin/busybox stat -c %Y /d)"
/bin/busybox poweroff -f
END
chmod 755 one/init
echo one >one/d/a
ln one/d/a one/d/b
echo two >two/d/a
chmod 755 one/d
chmod 700 two/d
touch -d @1000000000 one/d
touch -d @1100000000 two/d
archive() { (cd "$1" && find . | sort | cpio -o -H newc --quiet); }
{ archive one; archive two; } >initrd
said=$(timeout 300 qemu-system-x86_64 -m 512 -nographic -no-reboot -kernel "$kernel" -initrd initrd \
    -append 'console=ttyS0 panic=-1' </dev/null 2>/dev/null | tr -d '\r' | grep -ao 'a: .*time [0-9]*')
echo "${kernel##*/}: $said"
[ "$said" = "a: two, b: two; d: mode 700 and time 1000000000" ]
