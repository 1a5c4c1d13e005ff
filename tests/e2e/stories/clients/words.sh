# What the steps say again and again.
runtime=$BASE/orlop-runtime
box=localhost/box:latest

pod() {
  podman --runtime $runtime --events-backend file "$@"
}

# A container of busybox that goes when it has ended, and has no network.
box() {
  pod run --rm --network none "$@"
}

# Waits until a command succeeds; the step's own limit ends it if it never does.
until_so() {
  until "$@" >/dev/null 2>&1; do usleep 100000; done
}

# As an ordinary user, with the runtime where he can execute it.
as_sailor() {
  install -m 755 $runtime /tmp/orlop-runtime
  cat >/tmp/sailor.sh <<END
export XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/sailor PATH=$PATH BASE=/tmp
. $BASE/words.sh
cd
$1
END
  su sailor -c 'sh -eu /tmp/sailor.sh'
}

# The scope of a container, by the cgroup files that are asked for.
limits_of() {
  (cd /sys/fs/cgroup$(systemctl show -P ControlGroup libpod-$(pod inspect --format '{{.Id}}' $1).scope); shift; grep . "$@")
}

# Every scope that containers have.
scopes() {
  systemctl "$@" list-units --all --plain --no-legend 'libpod-*.scope' 'orlop-*.scope'
}

# Prints the exit status of a command that may fail.
status_of() {
  "$@" && echo "status 0" || echo "status $?"
}

# What containers leave when something goes wrong: state, cgroups, mounts, processes.
remains() {
  find /run/orlop-runtime -mindepth 1 2>/dev/null || :
  find /sys/fs/cgroup -mindepth 1 -type d
  sort /proc/mounts
  ps -o comm,args | grep -v 'kworker\|ps -o\|sort\|find\|grep' | sort
}
