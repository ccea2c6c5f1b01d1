#!/bin/sh
# Puts the services of this checkout into a system: commands, systemd units or init scripts, /etc/xen/auto. Files of the
# administrator (settings, configurations) that are there already stay as they are.
usage="usage: install.sh [--destdir DIR] [--init systemd|sysv] [--uninstall]
  --destdir DIR  the root of the system to install into; /
  --init KIND    which services; systemd where it runs, sysv elsewhere
  --uninstall    take away what was put there, and no file of the administrator"
set -eu
etc=$(cd -P "$(dirname "$0")" && pwd)
root=$(dirname "$etc")
destdir=
init=sysv
[ -d /run/systemd/system ] && init=systemd
uninstall=
while [ $# -gt 0 ]; do
  case $1 in
    --destdir) destdir=${2%/}; shift 2 ;;
    --init) init=$2; shift 2 ;;
    --uninstall) uninstall=yes; shift ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
case $init in
  systemd) services=$destdir/etc/systemd/system; mode=644 from=$etc/systemd ;;
  sysv) services=$destdir/etc/init.d; mode=755 from=$etc/init.d ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
bin=$destdir/usr/local/sbin
commands='xend xm xl xentop xencons xendomains'

if [ -n "$uninstall" ]; then
  for name in $commands; do
    # Only links that lead here are ours.
    [ "$(readlink "$bin/$name" || true)" = "$root/bin/$name" ] && rm -f "$bin/$name"
  done
  for service in "$from"/*; do rm -f "$services/$(basename "$service")"; done
  echo "taken away; domains, their configurations and settings are where they were"
  exit 0
fi

mkdir -p "$bin" "$services" "$destdir/etc/xen/auto" "$destdir/etc/default"
for name in $commands; do ln -sf "$root/bin/$name" "$bin/$name"; done
for service in "$from"/*; do
  target=$services/$(basename "$service")
  sed "s#@BIN@#/usr/local/sbin#g" "$service" >"$target.new"
  chmod $mode "$target.new"
  mv -f "$target.new" "$target"
done
for file in "$etc"/xen/*; do
  [ -e "$destdir/etc/xen/$(basename "$file")" ] || cp "$file" "$destdir/etc/xen/"
done
[ -e "$destdir/etc/default/xendomains" ] || cp "$etc/default/xendomains" "$destdir/etc/default/"

if [ $init = systemd ]; then
  echo "installed; now: systemctl daemon-reload && systemctl enable --now xend xendomains"
else
  echo "installed; now: update-rc.d xend defaults && update-rc.d xendomains defaults (Debian), or chkconfig --add (Red Hat)"
fi
