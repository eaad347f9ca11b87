#!/bin/sh -e
# The management address of a virtual machine stands on its kernel's command line.
for word in $(cat /proc/cmdline); do
  case $word in lab.addr=*) address=${word#*=} ;; lab.gw=*) gateway=${word#*=} ;; esac
done
ip link set eth0 up
ip addr replace "$address/24" dev eth0
ip route replace default via "$gateway"
