"""What a host is, said by the host itself: runs there from standard input, changes nothing, prints one JSON object.

Standard library only, and nothing newer than Python 3.6 has: a host with an old Python has to be able to say so. The toolkit sends this
file's text; it never imports it on the controller but in tests.
"""

import ctypes
import errno
import glob
import hashlib
import json
import os
import platform
import pwd
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time

PACKAGED = {"haproxy": "/etc/haproxy/haproxy.cfg", "prometheus": "/etc/prometheus/prometheus.yml"}


def text(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def said(*words):
    """Output of a command, and whether it could be run and ended well."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
        return done.stdout.decode("utf-8", "replace").strip(), done.returncode == 0
    except (OSError, subprocess.SubprocessError):
        return "", False


def digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def operating_system():
    fields = dict(line.split("=", 1) for line in text("/etc/os-release").splitlines() if "=" in line)
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    return {
        "id": fields.get("ID", "").strip('"'),
        "version": fields.get("VERSION_ID", "").strip('"'),
        "glibc": libc.split()[-1] if libc and libc.startswith("glibc") else None,
        "machine": platform.machine(),
        "kernel": platform.release(),
    }


def pythons():
    """Every system Python by its version, as an installation would find it."""
    found = {}
    for path in glob.glob("/usr/bin/python3*") + glob.glob("/usr/local/bin/python3*"):
        match = re.match(r".*/python(3\.[0-9]+)$", path)
        if match:
            found[match.group(1)] = path
    return found


def services():
    state = said("systemctl", "is-system-running")[0]
    failed = said("systemctl", "list-units", "--state=failed", "--plain", "--no-legend")[0]
    return {"state": state or None, "failed": [line.split()[0] for line in failed.splitlines() if line.split()]}


def disks(paths):
    found = {}
    for path in paths:
        there = path
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        stat = os.statvfs(there)
        found[path] = {
            "device": os.stat(there).st_dev,
            "free": stat.f_bavail * stat.f_frsize,
            "inodes": stat.f_favail if stat.f_files else None,
            "read_only": bool(stat.f_flag & os.ST_RDONLY),
            "noexec": bool(stat.f_flag & os.ST_NOEXEC),
        }
    return found


def memory():
    values = {}
    for line in text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            values[name] = int(rest.split()[0]) * 1024
    limits = [values.get("MemTotal", 0)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = text(path).strip()
        if limit.isdigit():
            limits.append(int(limit))
    return {"total": min(limits), "available": values.get("MemAvailable")}


def numa():
    return {
        os.path.basename(path)[4:]: text(path + "/cpulist").strip() for path in sorted(glob.glob("/sys/devices/system/node/node[0-9]*"))
    }


def synchronised():
    """Whether the kernel holds its clock for synchronised (adjtimex); None when it cannot be asked."""
    try:
        buffer = ctypes.create_string_buffer(512)
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
        return None if state < 0 else state != 5
    except (OSError, AttributeError):
        return None


def listeners():
    """Every listening TCP port, with the unit and the command that holds it where this may be seen."""
    sockets = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(path).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[fields[9]] = int(fields[1].rsplit(":", 1)[1], 16)
    holders = {}
    for descriptor in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        inode = target[8:-1] if target.startswith("socket:[") else None
        if inode in sockets and inode not in holders:
            holders[inode] = descriptor.split("/")[2]
    found = []
    for inode, port in sockets.items():
        pid = holders.get(inode)
        unit = command = None
        if pid is not None:
            units = re.findall(r"/([^/\n]+\.(?:service|scope))", text(f"/proc/{pid}/cgroup"))
            unit, command = (units[-1] if units else None), text(f"/proc/{pid}/comm").strip()
        found.append({"port": port, "unit": unit, "command": command})
    return found


def congestion():
    base = "/proc/sys/net/ipv4/"
    modules = glob.glob(f"/lib/modules/{platform.release()}/kernel/net/ipv4/tcp_bbr.ko*")
    return {
        "current": text(base + "tcp_congestion_control").strip(),
        "available": text(base + "tcp_available_congestion_control").split(),
        "allowed": text(base + "tcp_allowed_congestion_control").split(),
        "module": bool(modules),
    }


def limits():
    first = re.search(r"Max open files\s+(\S+)\s+(\S+)", text("/proc/1/limits"))
    processes = re.search(r"Max processes\s+(\S+)\s+(\S+)", text("/proc/1/limits"))
    return {
        "files": first.group(2) if first else None,
        "processes": processes.group(2) if processes else None,
        "nr_open": text("/proc/sys/fs/nr_open").strip(),
    }


def confinement():
    enforce = text("/sys/fs/selinux/enforce").strip()
    profiles = []
    for line in text("/sys/kernel/security/apparmor/profiles").splitlines():
        name, _, mode = line.rpartition(" ")
        if mode == "(enforce)" and re.search(r"haproxy|prometheus|python|dwcp", name):
            profiles.append(name)
    return {"selinux": {"1": "enforcing", "0": "permissive"}.get(enforce), "apparmor": profiles}


def packaged(name):
    """``packaged``, ``ours`` or ``foreign``: whose the configuration of a package is; None without one."""
    path = PACKAGED[name]
    content = text(path)
    if not content:
        return None
    if "Ansible managed" in content.splitlines()[0]:
        return "ours"
    sums = said("dpkg-query", "-W", "-f=${Conffiles}", name)[0]
    match = re.search(re.escape(path) + r" ([0-9a-f]{32})", sums)
    with open(path, "rb") as file:
        own = hashlib.new("md5", file.read()).hexdigest()
    return "packaged" if match and match.group(1) == own else "foreign"


def only_the_pin(path):
    """Whether nothing is there but what root put there before the first run: who may approve."""
    return os.path.isdir(path) and os.listdir(path) == ["approvers.sha256"]


def installed():
    """What of DWCP is on this host, whoever put it there."""
    try:
        name = json.loads(text("/etc/dwcp/host.json") or "null")
    except ValueError:
        name = "unreadable"
    fence = text("/var/lib/dwcp/host/fence.json")
    try:
        entry = pwd.getpwnam("dwcp")
        user = {"uid": entry.pw_uid, "shell": entry.pw_shell}
    except KeyError:
        user = None
    units = said("systemctl", "list-unit-files", "--plain", "--no-legend", "dwcp*")[0]
    return {
        "host": name,
        "fence": fence or None,
        "command": os.path.exists("/usr/local/sbin/dwcp-host"),
        "ca": digest("/etc/dwcp/tls/ca.crt"),
        "namespace": text("/etc/dwcp/signature_namespace").strip() or None,
        "user": user,
        "directories": [path for path in ("/etc/dwcp", "/opt/dwcp", "/var/lib/dwcp") if os.path.lexists(path) and not only_the_pin(path)],
        "units": [line.split()[0] for line in units.splitlines() if line.split()],
    }


def ways(peers, patience):
    """Whether each of ``[name, address, port]`` takes or refuses a connection, which both need a way there; or why not."""
    chosen, pending, found = selectors.DefaultSelector(), {}, []
    for name, address, port in peers:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        code = sock.connect_ex((address, port))
        if code in (errno.EINPROGRESS, 0):
            pending[sock] = (name, address, port)
            chosen.register(sock, selectors.EVENT_WRITE, sock)
        else:
            found.append([name, address, port, reached(code)])
            sock.close()
    end = time.monotonic() + patience
    while pending and time.monotonic() < end:
        for key, _ in chosen.select(max(0.0, end - time.monotonic())):
            ended = key.data
            found.append([*pending.pop(ended), reached(ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))])
            chosen.unregister(ended)
            ended.close()
    for sock, peer in pending.items():
        found.append([*peer, f"no answer within {patience:g} s"])
        sock.close()
    return found


def reached(code):
    return "" if code in (0, errno.ECONNREFUSED) else os.strerror(code)


def large(peers, size):
    """Whether a datagram of ``size`` bytes, not to be cut, arrives at ``[name, address]``: a closed port there says so. None: not known."""
    found = []
    for name, address in peers:
        small = echoed(address, 64)
        found.append([name, address, echoed(address, size - 28) if small else None])
    return found


def echoed(address, size):
    for attempt in range(3):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            sock.settimeout(0.7)
            sock.connect((address, 33434 + attempt))
            sock.send(b"\0" * size)
            sock.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return False
        finally:
            sock.close()
    return False


def main(question):
    began = time.time()
    answer = {
        "began": began,
        "root": os.geteuid() == 0,
        "sudo": sys.argv[1] if len(sys.argv) > 1 else "",
        "name": socket.gethostname(),
        "machine_id": text("/etc/machine-id").strip(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "pythons": pythons(),
        "os": operating_system(),
        "services": services(),
        "disks": disks(question["paths"]),
        "memory": memory(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "numa": numa(),
        "synchronised": synchronised(),
        "listeners": listeners(),
        "congestion": congestion(),
        "limits": limits(),
        "confinement": confinement(),
        "programs": {
            name: shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") for name in question["programs"]
        },
        "configurations": {name: packaged(name) for name in PACKAGED},
        "dwcp": installed(),
        "ways": ways(question["ways"], question["patience_s"]),
        "large": large(question["large"], question["mtu"]),
        "contained": said("systemd-detect-virt", "--container")[1],
    }
    answer["ended"] = time.time()
    print(json.dumps(answer))
