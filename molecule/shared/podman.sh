# $0 name of the host, $1 base image, $2 the Containerfile, $3 where the key and ssh_config go.
suite=${1##*:}
image=localhost/hostaudit-molecule:$suite
podman image exists "$image" || podman build --quiet --tag "$image" --build-arg "BASE=$1" --file "$2" "${2%/*}"
[ -e "$3/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$3/key"
podman run --detach --replace --name "hostaudit-$0" --hostname "$0" --systemd=always \
  --cap-add NET_ADMIN,SYS_ADMIN --security-opt apparmor=unconfined --security-opt seccomp=unconfined \
  --publish 127.0.0.1::22 "$image"
podman exec -i "hostaudit-$0" sh -c 'mkdir -p -m 700 /root/.ssh && cat >/root/.ssh/authorized_keys' <"$3/key.pub"
port=$(podman port "hostaudit-$0" 22)
printf 'Host %s\n HostName 127.0.0.1\n Port %s\n IdentityFile %s\n' "$0" "${port##*:}" "$3/key" >>"$3/ssh_config"
printf ' StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n' >>"$3/ssh_config"
printf ' ServerAliveInterval 5\n ServerAliveCountMax 3\n' >>"$3/ssh_config"
i=0
until ssh -F "$3/ssh_config" "root@$0" true; do
  i=$((i + 1))
  [ "$i" -lt 60 ]
  sleep 1
done
