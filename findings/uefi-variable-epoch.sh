#!/bin/bash
# efitools 1.9.2 (Debian 12), and sbvarsign of sbsigntool 0.9.4: signed variables and SOURCE_DATE_EPOCH.
#
# Guess:    both take the time of the signature from SOURCE_DATE_EPOCH: the time is a field of the format
#           (EFI_TIME), and distributions build with the variable set.
# Behaviour: both take the clock. sign-efi-sig-list -t DATE sets it, sbvarsign has no such option. systemd's
#           bootctl, which writes the same files (262, Debian sid), does honour the variable.
# Why here: keys for Secure Boot that are enrolled from an image's loader/keys/auto.
# Seen:     sign-efi-sig-list: differ, sbvarsign: differ, sign-efi-sig-list -t: equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet=2 efitools=1.9.2-3 sbsigntool=0.9.4-3.1 2>/dev/null
for package in ./*.deb; do dpkg-deb -x "$package" .; done
PATH=$work/usr/bin:$PATH
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -subj /CN=x -days 9999 2>/dev/null
guid=11111111-2222-3333-4444-555555555555
cert-to-efi-sig-list -g $guid crt db.esl
export SOURCE_DATE_EPOCH=1700000000
for n in 1 2; do
    sign-efi-sig-list -k key -c crt db db.esl "sign-$n" >/dev/null
    sign-efi-sig-list -t '2023-11-14 22:13:20' -k key -c crt db db.esl "time-$n" >/dev/null
    sbvarsign --key key --cert crt --output "var-$n" db db.esl
    sleep 2
done
two() { cmp -s "$1-1" "$1-2" && echo equal || echo differ; }
said="sign-efi-sig-list: $(two sign), sbvarsign: $(two var), sign-efi-sig-list -t: $(two time)"
echo "$said"
[ "$said" = "sign-efi-sig-list: differ, sbvarsign: differ, sign-efi-sig-list -t: equal" ]
