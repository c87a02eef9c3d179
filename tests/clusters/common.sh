# shellcheck shell=bash
# shellcheck disable=SC2016 # What stands in single quotes is for the shell inside.
# What the scripts for Slurm and HTCondor share: Debian roots, and instances of a cluster that live in them.
#
# A *root* is a Debian system in a directory, one for each suite, built once. Nothing of a cluster's state lies in it.
# An *instance* is a cluster at work: a directory with its settings, state, logs and ports, bound into the root by a
# mount namespace of its own. Several instances live in one root, none sees another's files, nothing must be unmounted,
# and whatever runs in the namespace belongs to the instance: daemons, jobs, and what jobs left behind.
#
#   $CU_CLUSTERS/roots/SUITE        the root; SUITE.log how it was built, SUITE.stamp by which recipe
#   $CU_CLUSTERS/CLUSTER/INSTANCE   bin/ etc/ log/ run/ state/, holder: the process that keeps the namespace
#
# A root whose stamp differs from what `recipe_stamp` says is built anew. A root without a stamp is half built.

readonly clusters=${CU_CLUSTERS:-/var/tmp/cu-clusters}
readonly instance=${CU_INSTANCE:-shared}

# --- words ------------------------------------------------------------------------------------------------------

say() { printf '%s: %s\n' "${program:?}" "$*" >&2; }
# die MESSAGE [LOG...]: ends, with the last lines of these logs.
die() {
    local log
    say "$1"
    shift
    for log in "$@"; do
        [ -s "$log" ] || continue
        printf -- '--- the end of %s\n' "$log" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}
# wait_until SECONDS COMMAND...: until it succeeds; fails when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}
# locked FILE SECONDS WHAT: holds a lock until this process ends. Daemons must be started with `9>&-`.
locked() {
    exec 9>"$1"
    flock -w "$2" 9 || die "waited $2 s in vain: $3 (lock $1)"
}

# --- what the machine must have -----------------------------------------------------------------------------------

# problems: what keeps clusters from working here, one a line.
problems() {
    local command
    [ "$(id -u)" = 0 ] || echo "this is not root, and only root can make mount namespaces and Debian roots"
    for command in unshare nsenter flock setsid mount mountpoint find sha256sum; do
        command -v "$command" >/dev/null ||
            echo "\`$command\` is missing: install the packages util-linux, mount, findutils and coreutils"
    done
    [ "$(id -u)" != 0 ] || unshare --mount --propagation unchanged true 2>/dev/null ||
        echo "mount namespaces are not allowed here: \`unshare --mount true\` fails (in a container it takes --privileged)"
    command -v debootstrap >/dev/null || command -v apt-get >/dev/null ||
        echo "\`debootstrap\` is missing, and without apt-get it can't be installed from here"
    case $instance in *[!a-z0-9-]* | '') echo "CU_INSTANCE is '$instance': small letters, digits and - only" ;; esac
    case $clusters in /*) ;; *) echo "CU_CLUSTERS is '$clusters': it must be an absolute path" ;; esac
}
need_machine() {
    local problem found=0
    while IFS= read -r problem; do
        say "$problem"
        found=1
    done < <(problems)
    [ "$found" = 0 ] || exit 1
    (umask 022 && mkdir -p "$clusters/roots" "$clusters/programs")
}

# --- roots --------------------------------------------------------------------------------------------------------

# debian_mirror: where this machine's own apt sources take Debian from, in either form; nothing on another system.
debian_mirror() {
    local ID='' VERSION_CODENAME='' file
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "$ID" = debian ] || return 0
    for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        case $file in
        *.sources) # Stanzas of `Key: value`, ended by an empty line.
            awk -v suite="$VERSION_CODENAME" '
                function stanza() { if (on && main && uri ~ /^https?:/ && index(" " suites " ", " " suite " ")) { print uri; exit }
                    uri = suites = ""; main = 0; on = 1 }
                BEGIN { on = 1 }
                /^#/ { next }
                /^[ \t]*$/ { stanza(); next }
                { key = tolower($1) }
                key == "uris:" { uri = $2 }
                key == "suites:" { $1 = ""; suites = $0 }
                key == "components:" { main = / main( |$)/ }
                key == "enabled:" { on = tolower($2) != "no" }
                END { stanza() }' "$file"
            ;;
        *) # deb [options] URI SUITE COMPONENT...
            awk -v suite="$VERSION_CODENAME" '
                { sub(/\[[^]]*\]/, "") }
                $1 == "deb" && $2 ~ /^https?:/ && $3 == suite && / main( |$)/ { print $2; exit }' "$file"
            ;;
        esac
    done | head -n 1
}
# machine_apt_settings: the apt settings that no package brought: what someone made for this machine.
machine_apt_settings() {
    local file
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        [ ! -f "$file" ] || dpkg -S "$file" >/dev/null 2>&1 || echo "$file"
    done
}

# make_debian SUITE DIRECTORY MIRROR
make_debian() {
    local tools script=$1 proxy='' file
    command -v debootstrap >/dev/null ||
        { DEBIAN_FRONTEND=noninteractive apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends debootstrap; } ||
        return 1
    # An older debootstrap does not know the newest suites. They are all made alike.
    tools=$2.tools
    rm -rf "$tools" && cp -r /usr/share/debootstrap "$tools" || return 1
    [ -e "$tools/scripts/$script" ] || ln -s sid "$tools/scripts/$script"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    local options=(--variant=minbase)
    case $3 in https:*) options+=(--include=ca-certificates) ;; esac
    env ${proxy:+http_proxy="$proxy"} DEBOOTSTRAP_DIR="$tools" debootstrap "${options[@]}" "$1" "$2" ${3:+"$3"} || return 1
    rm -rf "$tools"
    while IFS= read -r file; do
        cp "$file" "$2/etc/apt/apt.conf.d/" || return 1
    done < <(machine_apt_settings)
    for file in /usr/local/share/ca-certificates/*.crt; do
        [ ! -e "$file" ] || { mkdir -p "$2/usr/local/share/ca-certificates" && cp "$file" "$2/usr/local/share/ca-certificates/"; } || return 1
    done
    case $3 in https:*)
        cp -L /etc/ssl/certs/ca-certificates.crt "$2/etc/machine-ca.crt" &&
            echo 'Acquire::https::CAInfo "/etc/machine-ca.crt";' >"$2/etc/apt/apt.conf.d/99machine-ca" || return 1
        ;;
    esac
}
# install_packages SUITE: runs inside the root that is built.
install_packages() {
    set -euo pipefail
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
    local packages=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server procps python3)
    [ "$1" != trixie ] || packages+=(minicondor environment-modules)
    # HTCondor and the newest Slurm run containers by Apptainer. Only sid has it; its libraries these have, too.
    local containers=no
    case $1 in
    trixie | forky) containers=yes packages+=(libseccomp2 libsqlite3-0) ;;
    esac
    # take_from SUITE PACKAGE DIRECTORY: unpacks a package of another suite.
    take_from() {
        local mirror
        mirror=$(sed -n 's/^deb \(\[[^]]*\] \)*\([^ ]*\).*/\2/p' /etc/apt/sources.list | head -n 1)
        echo "deb $mirror $1 main" >"/etc/apt/sources.list.d/$1.list"
        apt-get update -qq
        (cd /tmp && apt-get download -qq "$2/$1" && dpkg-deb -x "$2"_*.deb "$3" && rm "$2"_*.deb)
    }
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # No package starts its daemon.
    chmod 755 /usr/sbin/policy-rc.d
    echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io
    # An index of testing is valid for a week, and mirrors that keep what they once fetched have older ones.
    echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/99any-age
    printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' >/etc/dpkg/dpkg.cfg.d/no-docs
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "${packages[@]}"
    # libmariadb3 11.8.9 refuses the queries of slurmdbd (error 5027). slurmdbd gets an older one beside it.
    if grep -q 'Number of columns in result' /usr/lib/*/libmariadb.so.3; then
        take_from bookworm libmariadb3 /opt/libmariadb3
    fi
    # Should it be gone from sid, the tests that need it say so.
    [ $containers = no ] || take_from sid apptainer / || echo "there is no apptainer in sid"
    # Nobody on the machine outside should have these ids.
    useradd --create-home --uid 20001 --user-group --shell /bin/bash cu
    useradd --create-home --uid 20002 --user-group --shell /bin/bash colleague
    head -c 1024 /dev/urandom >/etc/munge/munge.key
    chown munge: /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/lib/mysql/* /etc/apt/sources.list*
}
# recipe_stamp: changes with what is done to build a root.
recipe_stamp() { declare -f make_debian install_packages | sha256sum | cut -c 1-16; }
root_is_built() { [ "$(cat "$clusters/roots/$1.stamp" 2>/dev/null)" = "$(recipe_stamp)" ]; }

# build_root SUITE DIRECTORY LOG
build_root() {
    rm -rf --one-file-system "$2"
    {
        make_debian "$1" "$2" "$(debian_mirror)" &&
            (in_namespace "$(declare -f bind_system)"'; bind_system "$1"; exec chroot "$1" bash -c "$2" - "$3"' \
                "$2" "$(declare -f install_packages)"'; install_packages "$1"' "$1")
    } >"$3" 2>&1 </dev/null 9>&-
}
# install_root SUITE: builds its root, unless that was done.
install_root() {
    local suite=$1 roots=$clusters/roots
    ! root_is_built "$suite" || return 0
    (
        locked "$roots/$suite.lock" 1200 "another process builds the root of $suite"
        ! root_is_built "$suite" || exit 0
        local log=$roots/$suite.log root=$roots/$suite part=$roots/$suite.part begun=$SECONDS pid
        for pid in "$clusters"/*/*/holder.pid; do
            if [ -e "$pid" ] && [ "$(cat "${pid%/holder.pid}/suite" 2>/dev/null)" = "$suite" ] && [ -d "/proc/$(cat "$pid")" ]; then
                die "the root of $suite is outdated, and ${pid%/holder.pid} lives in it: take that down first"
            fi
        done
        say "builds the root of $suite (one to two minutes, log $log)"
        rm -f "$root.stamp"
        # Mirrors have their moments.
        build_root "$suite" "$part" "$log" ||
            { say "the root of $suite could not be built: once more" && build_root "$suite" "$part" "$log"; } ||
            die "the root of $suite could not be built; the whole log: $log" "$log"
        { rm -rf --one-file-system "$root" && mv "$part" "$root" && recipe_stamp >"$root.stamp"; } ||
            die "the root of $suite could not be moved to its place"
        say "the root of $suite is built, in $((SECONDS - begun)) s"
    )
}

# missing_in ROOT PACKAGE...: which of these packages the root lacks.
missing_in() {
    local root=$1 package
    shift
    for package; do
        [ "$(chroot "$root" dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            echo "$package"
    done
}
# add_packages SUITE MIRROR PACKAGE...: runs inside a root that is built.
add_packages() {
    set -euo pipefail
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
    local suite=$1 mirror=$2
    shift 2
    # Bytecode for each module of Python takes longer than all else, and tests make that of the few they need.
    dpkg-divert --quiet --local --rename --add /usr/bin/py3compile
    ln -sf /bin/true /usr/bin/py3compile
    echo "deb ${mirror:-http://deb.debian.org/debian} $suite main" >/etc/apt/sources.list
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "$@"
    apt-get clean
    rm -rf /var/lib/apt/lists/* /etc/apt/sources.list*
}
# add_to_root SUITE PACKAGE...: installs these in its root, unless they are there.
add_to_root() {
    local suite=$1 root=$clusters/roots/$1 log=$clusters/roots/$1.programs.log missing
    shift
    install_root "$suite"
    (
        locked "$clusters/roots/$suite.lock" 1200 "another process builds the root of $suite"
        mapfile -t missing < <(missing_in "$root" "$@")
        [ ${#missing[@]} -gt 0 ] || exit 0
        local begun=$SECONDS
        say "installs in the root of $suite: ${missing[*]} (log $log)"
        # Mirrors have their moments.
        add_in_namespace >"$log" 2>&1 </dev/null || add_in_namespace >"$log" 2>&1 </dev/null ||
            die "${missing[*]} could not be installed in the root of $suite" "$log"
        say "they are installed, in $((SECONDS - begun)) s"
    )
}
# add_in_namespace: a part of add_to_root, whose names it uses.
add_in_namespace() {
    (in_namespace "$(declare -f bind_system)"'; root=$1 script=$2; shift 2; bind_system "$root"
        exec chroot "$root" bash -c "$script" - "$@"' \
        "$root" "$(declare -f add_packages)"'; add_packages "$@"' "$suite" "$(debian_mirror)" "${missing[@]}" 9>&-)
}

# --- mount namespaces ---------------------------------------------------------------------------------------------

# in_namespace SCRIPT ARGUMENT...: becomes bash with SCRIPT in a mount namespace of its own. What is mounted there below
# $clusters is not seen outside.
in_namespace() {
    local script=$1 propagation=private
    shift
    if ! mountpoint -q /; then
        # In a chroot `/` is not a mount point and can't be made private; this directory can.
        mountpoint -q "$clusters" || mount --bind "$clusters" "$clusters"
        mount --make-private "$clusters"
        propagation=unchanged
    fi
    exec unshare --mount --propagation "$propagation" bash -euc "$script" - "$@"
}
# leave_no_mount: undoes what a chroot made necessary, once no instance is up.
leave_no_mount() {
    local pid
    ! mountpoint -q / || return 0
    for pid in "$clusters"/*/*/holder.pid; do
        [ ! -e "$pid" ] || [ ! -d "/proc/$(cat "$pid")" ] || return 0
    done
    ! mountpoint -q "$clusters" || umount --lazy "$clusters"
}
# bind_system ROOT: what a Debian root needs of the machine.
bind_system() {
    local directory
    for directory in proc sys dev; do
        mount --rbind "/$directory" "$1/$directory"
        mount --make-rprivate "$1/$directory"
    done
}
namespace_of() { readlink "/proc/$1/ns/mnt" 2>/dev/null; }

# --- an instance --------------------------------------------------------------------------------------------------

# choose CLUSTER SUITE: which instance all that follows is about.
choose() {
    cluster=$1 suite=$2 home=$clusters/$1/$instance root=$clusters/roots/$2
}
# holder: the process that keeps the namespace, if it lives.
holder() {
    local pid
    pid=$(cat "$home/holder.pid" 2>/dev/null) && [ -n "$pid" ] &&
        [ "$(namespace_of "$pid")" = "$(cat "$home/namespace" 2>/dev/null)" ] && echo "$pid"
}
# members: all processes in the namespace, one a line.
members() {
    local namespace
    namespace=$(cat "$home/namespace" 2>/dev/null) || return 0
    # The name has brackets, which mean themselves here.
    namespace=${namespace//[/\\[}
    find /proc/[0-9]*/ns/mnt -maxdepth 0 -lname "${namespace//]/\\]}" 2>/dev/null | cut -d/ -f3
}
no_members() { [ -z "$(members)" ]; }
is_member() { [ -n "$1" ] && [ "$(namespace_of "$1")" = "$(cat "$home/namespace" 2>/dev/null)" ]; }
# lives PID: and is not a zombie, whose parent is in no hurry.
lives() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    case ${stat##*) } in Z* | X*) return 1 ;; esac
}
is_dead() { ! lives "$1"; }
is_stopped() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) && [[ ${stat##*) } = T* ]]
}
# end_process PID SIGNAL NAME: sends it and waits; SIGKILL follows if need be.
end_process() {
    kill "-$2" "$1" 2>/dev/null || return 0
    wait_until 20 is_dead "$1" || { say "$3 did not end within 20 s of SIG$2: SIGKILL" && kill -KILL "$1"; }
    wait_until 20 is_dead "$1" || die "$3 (process $1) can't be ended"
}
# end_members: ends all that is left in the namespace, jobs and what they left behind too.
end_members() {
    local pid
    for pid in $(members); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait_until 20 no_members || die "processes of $home can't be ended: $(members | tr '\n' ' ')"
    rm -f "$home/holder.pid" "$home/namespace"
}
# inside COMMAND...: as root in the root, with an environment of its own.
inside() {
    local pid
    pid=$(holder) || die "$cluster ($instance) is not up"
    nsenter --target "$pid" --mount --root -- /usr/bin/env -i --chdir=/ PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LC_ALL=C "$@" 9>&-
}

# shown_directories: what jobs see under the same paths as everyone.
shown_directories() {
    local directories directory
    IFS=: read -ra directories <<<"/tmp:$home/bin:$clusters/programs${CU_WORK:+:$CU_WORK}"
    for directory in "${directories[@]}"; do
        [ -d "$directory" ] || die "CU_WORK: there is no directory $directory"
        printf '%s\n' "$directory"
    done
}
# cgroup: the name of the instance's own, also where another directory of clusters has an instance of that name.
cgroup() { echo "$cluster-$instance-$(stat -c %i "$home")"; }
# bind_instance ROOT GROUP [FROM TO]...: runs in the new namespace; each FROM appears as TO in the root. GROUP: see
# bind_cgroups, which each cluster has its own of.
bind_instance() {
    local root=$1 group=$2
    shift 2
    mount --bind "$root" "$root"
    bind_system "$root"
    bind_cgroups "$root" "$group"
    while [ $# -gt 0 ]; do
        if [ -d "$1" ]; then mkdir -p "$root$2"; else touch "$root$2"; fi
        mount --bind "$1" "$root$2"
        shift 2
    done
    # In a chroot alone, jobs could not make namespaces, as containers do. So the root becomes that of the namespace.
    cd "$root"
    mount --move . /
    exec setsid --fork chroot . sh -c 'echo $$ >/run/cu/holder; exec sleep infinity'
}
# hold [FROM TO]...: makes the namespace, unless it is there. FROM is a directory of the instance.
hold() {
    local directory pid mounts=()
    if pid=$(holder); then
        for directory in $(shown_directories); do
            grep -qF " $directory " "/proc/$pid/mountinfo" ||
                die "$cluster ($instance) is up and does not show $directory to jobs: take it down first"
        done
        return 0
    fi
    end_members # Of a namespace whose holder someone has killed.
    (umask 022 && mkdir -p "$home"/{bin,etc,log,run,state})
    rm -rf "${home:?}"/run/*
    mkdir -p "$home"/run/{cu,lock}
    chmod 1777 "$home/run/lock"
    { cat /etc/hosts && echo "127.0.0.1 localhost $(hostname)"; } >"$home/hosts"
    echo "$suite" >"$home/suite"
    while [ $# -gt 0 ]; do
        mkdir -p "$home/$1"
        mounts+=("$home/$1" "$2")
        shift 2
    done
    for directory in $(shown_directories); do mounts+=("$directory" "$directory"); done
    (in_namespace "$(declare -f bind_system bind_cgroups bind_instance)"'; bind_instance "$@"' "$root" "$(cgroup)" \
        "$home/run" /run "$home/hosts" /etc/hosts "${mounts[@]}") >"$home/log/holder.log" 2>&1 </dev/null 9>&- ||
        die "the mount namespace could not be made" "$home/log/holder.log"
    wait_until 10 test -s "$home/run/cu/holder" || die "the mount namespace was not made" "$home/log/holder.log"
    namespace_of "$(cat "$home/run/cu/holder")" >"$home/namespace"
    cp "$home/run/cu/holder" "$home/holder.pid"
}

# instances CLUSTER: their names.
instances() {
    local directory
    for directory in "$clusters/$1"/*/; do
        [ ! -d "$directory" ] || basename "$directory"
    done
}
# abandoned_instances CLUSTER: those that tests made for themselves, own-PROCESS-NUMBER, and did not live to remove.
abandoned_instances() {
    local name pid
    for name in $(instances "$1"); do
        [[ $name = own-* ]] || continue
        pid=${name#own-}
        [ -d "/proc/${pid%-*}" ] || echo "$name"
    done
}

# make_lanes NUMBER...: a file for each, whose lock whoever works there holds.
make_lanes() {
    local lane
    mkdir -p "$home/lanes"
    for lane; do : >"$home/lanes/$lane"; done
}
# reserve_ports FIRST LAST: connections of others do not get them by chance, as they do where the machine's range for
# that is a wide one. It lasts until the machine is restarted.
reserve_ports() {
    local first last now settings=/proc/sys/net/ipv4
    read -r first last <"$settings/ip_local_port_range"
    now=$(cat "$settings/ip_local_reserved_ports" 2>/dev/null) || return 0
    ((first <= $2 && last >= $1)) && [[ ,$now, != *,$1-$2,* ]] || return 0
    # Where this is not allowed, a collision is seldom, and says so.
    { echo "${now:+$now,}$1-$2" >"$settings/ip_local_reserved_ports"; } 2>/dev/null || true
}
# claim_ports: the first of 50 ports on loopback that nobody uses.
claim_ports() {
    local used=() claimed=() port line state file
    exec 8>"$clusters/ports.lock"
    flock -w 60 8 || die "waited 60 s in vain for the lock $clusters/ports.lock"
    reserve_ports 17000 21999
    while read -r _ line _ state _; do
        # 06: closed, and remembered for a while.
        [ "$state" = 06 ] || used+=($((16#${line##*:})))
    done < <(tail -qn +2 /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    for file in "$clusters"/*/*/port; do
        [ ! -e "$file" ] || [ "$file" = "$home/port" ] || claimed+=("$(cat "$file")")
    done
    for ((port = 17000; port < 22000; port += 50)); do
        [[ " ${claimed[*]-} " != *" $port "* ]] || continue
        for line in ${used[@]+"${used[@]}"}; do
            ((line < port || line >= port + 50)) || continue 2
        done
        echo "$port" >"$home/port"
        exec 8>&-
        return
    done
    die "no 50 ports in a row are free between 17000 and 22000"
}

# write_clients COMMAND...: for everyone's PATH. One small program, called by many names.
write_clients() {
    local command
    # Lets the users of the cluster in, who are nobody outside: mount namespaces are for root.
    install -m 4750 -g 20001 "$(command -v nsenter)" "$home/enter"
    cat >"$home/bin/.client" <<C
#!/bin/sh
# Runs the command of this name in the cluster, in the caller's directory and with the caller's environment.
# Root acts as the user of the cluster that CU_USER names: cu (the default), colleague, root.
# \`in-cluster\` runs any program there: in-cluster PROGRAM ARGUMENT...
command=\${0##*/}
[ "\$command" = in-cluster ] || set -- "/usr/bin/\$command" "\$@"
[ ! -e /run/cu/holder ] || exec "\$@"
[ -r '$home/holder.pid' ] || { echo "\$command: the cluster in $home is not up" >&2; exit 1; }
read -r holder <'$home/holder.pid'
user=\$(id -u) group=\$(id -g)
if [ "\$user" = 0 ]; then
    case \${CU_USER:-cu} in
    cu) user=20001 ;;
    colleague) user=20002 ;;
    root) ;;
    *) echo "\$command: no user '\$CU_USER' in the cluster: cu, colleague, root" >&2; exit 1 ;;
    esac
    group=\$user
    [ "\$user" = 0 ] || export HOME="/home/\${CU_USER:-cu}" USER="\${CU_USER:-cu}" LOGNAME="\${CU_USER:-cu}"
fi
exec '$home/enter' --target "\$holder" --mount --root --setuid "\$user" --setgid "\$group" -- \\
    /usr/bin/env --chdir="\$PWD" "\$@"
C
    chmod 755 "$home/bin/.client"
    for command in in-cluster "$@"; do
        ln -sfn .client "$home/bin/$command"
    done
}
# usage SCRIPT: its head.
usage() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1" >&2
    exit 2
}
