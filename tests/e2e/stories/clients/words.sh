# What the steps say again and again.
runtime=$BASE/orlop-runtime
box=localhost/box:latest

# podman without systemd, as its manual has it.
pod() {
  podman --runtime $runtime --cgroup-manager cgroupfs --events-backend file "$@"
}

# A container of busybox that goes when it has ended, and has no network.
box() {
  pod run --rm --network none "$@"
}

# Waits until a command succeeds; the step's own limit ends it if it never does.
until_so() {
  until "$@" >/dev/null 2>&1; do usleep 100000; done
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
