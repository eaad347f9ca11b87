#!/bin/sh
# The first part of the guard's program: keep one thing, compare it, put it back. units.sh and guard.sh are the others.
#
# A touch names one thing that a change may alter:
#   file PATH                 bytes, mode, owner, times, or that it is absent
#   soft PATH                 a file that other changes write too: no reason to refuse an undo
#   pve PATH                  a file below /etc/pve: its bytes; that file system fixes the rest
#   value PATH                a file of /proc/sys or /sys
#   link NAME                 MTU of an interface
#   module NAME               whether a kernel module is loaded: one that the change brought goes, unless it is in use now
#   unit NAME                 whether a systemd unit is enabled and active
#   nft FAMILY TABLE          a whole nftables table
#   chain COMMAND TABLE CHAIN PARENT   a chain of iptables and the jump to it
# shellcheck disable=SC2086 # names that stand together in one touch are taken apart
# Functions take: $1 directory of images, $2 number of the touch, $3 its kind, $4 the rest of it.

capture() {
  case $3 in
    file | soft | pve)
      if [ -L "$4" ] || [ -f "$4" ]; then
        cp -a "$4" "$1/$2"
      elif [ -e "$4" ]; then
        refuse "$4 is neither a file nor a link"
      fi
      ;;
    value) [ ! -e "$4" ] || cat "$4" >"$1/$2" ;;
    link)
      line=$(ip -o link show dev "$4" 2>/dev/null) || return 0
      line=${line#* mtu }
      echo "${line%% *}" >"$1/$2"
      ;;
    module) [ ! -d "/sys/module/$4" ] || echo loaded >"$1/$2" ;;
    unit) printf '%s %s\n' "$(systemctl is-enabled "$4" 2>/dev/null)" "$(systemctl is-active "$4")" >"$1/$2" ;;
    # into a variable first: where the disk is full, a table must not look as if it were not there
    nft)
      set -- "$1" "$2" $4
      rules=$(nft list table "$3" "$4" 2>/dev/null) || return 0
      printf '%s\n' "$rules" >"$1/$2"
      ;;
    chain)
      set -- "$1" "$2" $4
      rules=$({ "$3" -w 10 -t "$4" -S "$5" && "$3" -w 10 -t "$4" -S "$6" | grep -e " -j $5\$"; } 2>/dev/null)
      [ -z "$rules" ] || printf '%s\n' "$rules" >"$1/$2"
      ;;
    *) refuse "$3: no such kind of thing" ;;
  esac
}

# Is it the same in the images of $1 and of $5?
same() {
  a=$1/$2 b=$5/$2
  case $3 in
    value | link) [ -e "$a" ] && [ -e "$b" ] || return 0 ;; # it came or went with a module or a device
    # what uses it now has nothing to do with the change; a module that is built in counts no users
    module) [ "$(cat "/sys/module/$4/refcnt" 2>/dev/null)" = 0 ] || return 0 ;;
  esac
  if [ -L "$a" ] || [ -L "$b" ]; then
    [ -L "$a" ] && [ -L "$b" ] && [ "$(readlink "$a")" = "$(readlink "$b")" ]
    return
  fi
  [ -e "$a" ] || {
    [ ! -e "$b" ]
    return
  }
  [ -e "$b" ] && cmp -s "$a" "$b" || return 1
  case $3 in file | soft) [ "$(stat -c %a:%u:%g "$a")" = "$(stat -c %a:%u:%g "$b")" ] ;; esac
}

put_file() { # $1 image, $2 path
  beside=${2%/*}/.${2##*/}.hostaudit~
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then
    rm -f "$2"
  elif mkdir -p "${2%/*}" && cp -a "$1" "$beside" && mv -fT "$beside" "$2"; then
    :
  elif rm -f "$beside" && [ -f "$1" ] && [ -f "$2" ] && [ ! -L "$2" ]; then # no space for a second copy
    cat "$1" >"$2" && chmod --reference="$1" "$2" && chown --reference="$1" "$2"
  else
    return 1
  fi
}

put_back() {
  image=$1/$2
  case $3 in
    file | soft) put_file "$image" "$4" ;;
    pve)
      [ -e /etc/pve/.version ] || return 1 # not mounted: below it would be another file system
      if [ -e "$image" ]; then cat "$image" >"$4.tmp.$$" && mv -f "$4.tmp.$$" "$4"; else rm -f "$4"; fi
      ;;
    value) cat "$image" >"$4" ;;
    link) ip link set dev "$4" mtu "$(cat "$image")" ;;
    module) modprobe -r "$4" ;;
    unit)
      read -r enabled active <"$image"
      case $enabled in enabled) systemctl -q enable "$4" ;; esac
      case $active in active) systemctl restart "$4" ;; esac
      ;;
    nft)
      set -- "$image" $4
      {
        printf 'table %s %s\ndelete table %s %s\n' "$2" "$3" "$2" "$3"
        [ ! -e "$1" ] || cat "$1"
      } | nft -f -
      ;;
    chain)
      set -- "$image" $4
      while "$2" -w 10 -t "$3" -D "$5" -j "$4" 2>/dev/null; do :; done
      "$2" -w 10 -t "$3" -F "$4" 2>/dev/null && "$2" -w 10 -t "$3" -X "$4"
      [ ! -e "$1" ] || {
        echo "*$3"
        sed 's/^-N \(.*\)/:\1 - [0:0]/' "$1"
        echo COMMIT
      } | "$2-restore" -w 10 -n
      ;;
  esac
}

# Put back what differs, and only that: a file that nobody touched keeps its times, a link its flags.
put_back_if() {
  scratch=$RUN/scratch # in memory: an undo must not need space on a disk
  mkdir -p "$scratch"
  { capture "$scratch" "$2" "$3" "$4" && same "$1" "$2" "$3" "$4" "$scratch"; } || put_back "$1" "$2" "$3" "$4"
  set -- $?
  rm -rf "$scratch"
  return "$1"
}

stop_new_unit() {
  read -r enabled active <"$1/$2"
  case $active in active) ;; *) systemctl -q stop "$4" 2>/dev/null ;; esac
  case $enabled in enabled) ;; *) systemctl -q disable "$4" 2>/dev/null ;; esac
  systemctl -q reset-failed "$4" 2>/dev/null
  :
}

# Call function $1 for every touch of change $2 whose kind is in list $3 (empty: all), with images $4 (and $5).
each() {
  n=0 bad=0
  while read -r kind rest <&3; do
    n=$((n + 1))
    case " ${3:-$kind} " in *" $kind "*) "$1" "$4" "$n" "$kind" "$rest" "${5:-}" || bad=1 ;; esac
  done 3<"$2/touches"
  return $bad
}

print_changed() { same "$@" || printf '%s %s\n' "$3" "$4"; }

# Print the touches of change $1 that differ between images $2 and $3.
changed() { each print_changed "$1" '' "$2" "$3"; }

# Keep the present state of what change $1 touches as images $2.
now() { rm -rf "$2" && mkdir "$2" && each capture "$1" '' "$2"; }

# Print what is not as before change $1.
differing() {
  now "$1" "$RUN/found"
  changed "$1" "$1/before" "$RUN/found"
  rm -rf "$RUN/found"
}

# Put everything of change $1 back (soft files too, unless $2 is not empty); print what is still not as it was.
restore() {
  soft=soft
  [ -z "${2:-}" ] || soft=
  each stop_new_unit "$1" unit "$1/before"
  while read -r mode owner d; do
    [ -e "$d" ] || { mkdir -m "$mode" "$d" && chown "$owner" "$d"; }
  done <"$1/modes"
  each put_back_if "$1" "file $soft pve" "$1/before"
  while read -r d; do rmdir "$d" 2>/dev/null; done <"$1/dirs"
  ! grep -q '^unit ' "$1/touches" || systemctl daemon-reload
  each put_back_if "$1" "unit nft chain value" "$1/before"
  # a VLAN cannot be larger than its parent, and a bridge follows its ports: what failed or moved is set again
  for _ in 1 2 3; do each put_back_if "$1" link "$1/before"; done
  each put_back_if "$1" module "$1/before" # after the rules that use it
  now "$1" "$RUN/check" || {
    echo "what it is now cannot be read"
    return 1
  }
  left=$(changed "$1" "$1/before" "$RUN/check")
  [ -n "$soft" ] || left=$(printf '%s\n' "$left" | grep -v '^soft ')
  rm -rf "$RUN/check"
  printf '%s\n' "$left"
  [ -z "$left" ]
}
