/* The files by which names are resolved, who the host is, the environment, and Unix sockets. */
#include "conformance.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/utsname.h>

/* Length and hash of what can be read. */
static const char *digest(int fd) {
    static char text[64];
    unsigned char buffer[4096];
    uint64_t hash = 0xcbf29ce484222325u;
    size_t length = 0;
    ssize_t got;
    if (fd < 0)
        return error_name(errno);
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < got; i++, length++)
            hash = (hash ^ buffer[i]) * 0x100000001b3u;
    snprintf(text, sizeof text, "#%zu-%016lx", length, (unsigned long)hash);
    return text;
}

static void say_file(const char *path) {
    struct stat found = {0};
    say("open %s", digest(open(path, O_RDONLY | O_CLOEXEC)));
    TELL("stat", stat(path, &found));
    say("mode %o, size #%ld-0000000000000000", found.st_mode, (long)found.st_size);
    TELL("access", access(path, R_OK));
}

CASE(file, resolv_conf, "/etc/resolv.conf") { say_file("/etc/resolv.conf"); }
CASE(file, hosts, "/etc/hosts") { say_file("/etc/hosts"); }
CASE(file, nsswitch_conf, "/etc/nsswitch.conf") { say_file("/etc/nsswitch.conf"); }
CASE(file, hostname, "/etc/hostname") { say_file("/etc/hostname"); }

CASE(file, stdio, "fopen and freopen") {
    FILE *file = fopen("/etc/hosts", "re");
    say("fopen %s", file ? digest(fileno(file)) : error_name(errno));
    file = freopen("/etc/resolv.conf", "r", file);
    say("freopen %s", file ? digest(fileno(file)) : error_name(errno));
}

CASE(file, openat, "openat with and without a folder") {
    int folder = open("/etc", O_RDONLY | O_DIRECTORY);
    say("absolute %s", digest(openat(AT_FDCWD, "/etc/hosts", O_RDONLY)));
    say("below a folder %s", digest(openat(folder, "hosts", O_RDONLY)));
    TELL("chdir", chdir("/etc"));
    say("relative %s", digest(open("hosts", O_RDONLY)));
}

CASE(file, spelled, "other spellings of a path") {
    const char *paths[] = {"//etc/hosts", "/etc/./hosts", "/etc/../etc/hosts", "/etc//hosts", "/etc/hosts/",
                           "/proc/self/root/etc/hosts"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        say("%s %s", paths[i], digest(open(paths[i], O_RDONLY)));
}

CASE(file, syscalls, "open and openat by syscall()") {
    say("openat %s", digest(syscall(SYS_openat, AT_FDCWD, "/etc/hosts", O_RDONLY, 0)));
    say("open %s", digest(syscall(SYS_open, "/etc/resolv.conf", O_RDONLY, 0)));
}

CASE(file, stats, "stat, lstat, fstatat, statx and fstat agree") {
    struct stat one = {0}, two = {0}, three = {0}, four = {0};
    struct statx five = {0};
    int fd = open("/etc/resolv.conf", O_RDONLY);
    TELL("stat", stat("/etc/resolv.conf", &one));
    TELL("lstat", lstat("/etc/resolv.conf", &two));
    TELL("fstatat", fstatat(AT_FDCWD, "/etc/resolv.conf", &three, 0));
    TELL("fstat", fstat(fd, &four));
    TELL("statx", statx(AT_FDCWD, "/etc/resolv.conf", 0, STATX_SIZE, &five));
    say("%s", one.st_size == two.st_size && one.st_size == three.st_size && one.st_size == four.st_size &&
                      (unsigned long)one.st_size == five.stx_size
                  ? "one size"
                  : "different sizes");
    say("%s", one.st_ino == four.st_ino ? "one inode" : "different inodes");
}

CASE(file, refused, "what an ordinary user may not do with them") {
    TELL("write", open("/etc/hosts", O_WRONLY) < 0 ? -1 : 0);
    TELL("folder", open("/etc/hosts", O_RDONLY | O_DIRECTORY) < 0 ? -1 : 0);
    TELL("create", open("/etc/hosts", O_RDONLY | O_CREAT | O_EXCL, 0600) < 0 ? -1 : 0);
    TELL("access", access("/etc/hosts", W_OK));
    TELL("execute", access("/etc/hosts", X_OK));
    TELL("unlink", unlink("/etc/hosts"));
}

CASE(file, mapped, "mmap and a second reading") {
    int fd = open("/etc/hosts", O_RDONLY);
    struct stat found = {0};
    fstat(fd, &found);
    char *text = mmap(NULL, found.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    say("%s", text == MAP_FAILED ? error_name(errno) : "mapped");
    say("first %s", digest(fd));
    COUNT("seek", lseek(fd, 0, SEEK_SET));
    say("second %s", digest(fd));
}

CASE(file, child, "a shell reads them") {
    char text[64] = "";
    FILE *output = popen("cksum < /etc/hosts; cat /etc/resolv.conf | cksum", "r");
    while (output && fgets(text, sizeof text, output)) {
        unsigned sum = 0, length = 0;
        sscanf(text, "%u %u", &sum, &length);
        say("#%u-%016x", length, sum);
    }
}

CASE(identity, gethostname, "gethostname") {
    char name[256] = "";
    TELL("gethostname", gethostname(name, sizeof name));
    say("%s", name);
}

CASE(identity, gethostname_small, "gethostname with little room") {
    char name[256];
    size_t rooms[] = {0, 1, 5};
    for (size_t i = 0; i < 3; i++) {
        memset(name, '.', sizeof name);
        TELL("gethostname", gethostname(name, rooms[i]));
        say("%.6s", name);
    }
    char full[256] = "";
    gethostname(full, sizeof full);
    memset(name, '.', sizeof name);
    TELL("one less", gethostname(name, strlen(full)));
    say("%s", strncmp(name, full, strlen(full)) == 0 ? "filled" : "not filled");
    TELL("exactly", gethostname(name, strlen(full) + 1));
}

CASE(identity, uname, "uname") {
    struct utsname names;
    TELL("uname", uname(&names));
    say("%s %s, domain %s", names.sysname, names.nodename, names.domainname);
    memset(&names, 0, sizeof names);
    TELL("by syscall", syscall(SYS_uname, &names));
    say("%s", names.nodename);
    TELL("null", syscall(SYS_uname, NULL));
}

CASE(identity, getdomainname, "getdomainname") {
    char name[256] = "";
    TELL("getdomainname", getdomainname(name, sizeof name));
    say("%s", name);
}

CASE(identity, program, "the programs hostname and uname") {
    char text[256];
    const char *commands[] = {"hostname", "uname -n", "cat /etc/hostname", "sh -c 'echo $HOSTNAME'"};
    for (size_t i = 0; i < 4; i++) {
        FILE *output = popen(commands[i], "r");
        text[0] = '\0';
        if (output && fgets(text, sizeof text, output))
            say("%s: %.*s", commands[i], (int)strcspn(text, "\n"), text);
        else
            say("%s: nothing", commands[i]);
    }
}

CASE(identity, proc, "/proc/sys/kernel/hostname") {
    char text[256] = "";
    int fd = open("/proc/sys/kernel/hostname", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    say("%.*s", got > 0 ? (int)got - 1 : 0, text);
}

CASE(identity, set, "sethostname as an ordinary user") { TELL("sethostname", sethostname("x", 1)); }

CASE(identity, own_address, "the addresses of the host's own name") {
    char name[256] = "";
    gethostname(name, sizeof name);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    say("getaddrinfo %d", getaddrinfo(name, NULL, &hints, &list));
    for (; list; list = list->ai_next)
        say("%s", shown(list->ai_addr, list->ai_addrlen));
}

CASE(identity, interfaces, "getifaddrs") {
    struct ifaddrs *list = NULL;
    TELL("getifaddrs", getifaddrs(&list));
    for (; list; list = list->ifa_next)
        if (list->ifa_addr && list->ifa_addr->sa_family == AF_INET)
            say("%s %s", list->ifa_name, shown(list->ifa_addr, sizeof(struct sockaddr_in)));
}

CASE(environment, variables, "variables that Kubernetes sets") {
    const char *names[] = {"HOSTNAME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "ECHO_SERVER_SERVICE_HOST",
                           "ECHO_SERVER_PORT_7001_UDP", "DEBIAN_SERVICE_PORT_NODE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        say("%s=%s", names[i], getenv(names[i]) ? getenv(names[i]) : "(unset)");
}

CASE(environment, child, "the same in a child") {
    char text[256] = "";
    FILE *output = popen("echo $ECHO_SERVER_SERVICE_HOST:$ECHO_SERVER_SERVICE_PORT", "r");
    if (output && fgets(text, sizeof text, output))
        say("%.*s", (int)strcspn(text, "\n"), text);
}

static int unix_socket(int kind) { return socket(AF_UNIX, kind, 0); }

CASE(unix, missing, "paths that nobody listens on") {
    TELL("no file", join(unix_socket(SOCK_STREAM), unix_path("/tmp/no-such-socket")));
    TELL("no folder", join(unix_socket(SOCK_STREAM), unix_path("/no/such/folder")));
    TELL("a file", join(unix_socket(SOCK_STREAM), unix_path("/etc/passwd")));
    TELL("below a file", join(unix_socket(SOCK_STREAM), unix_path("/etc/passwd/x")));
    TELL("datagram", join(unix_socket(SOCK_DGRAM), unix_path("/tmp/no-such-socket")));
    TELL("seqpacket", join(unix_socket(SOCK_SEQPACKET), unix_path("/tmp/no-such-socket")));
}

CASE(unix, abstract_missing, "an abstract name that nobody has") {
    struct address to = unix_path("xconformance-nobody");
    to.un.sun_path[0] = '\0';
    TELL("connect", join(unix_socket(SOCK_STREAM), to));
}

static void serve_itself(int kind, struct address name) {
    int server = unix_socket(kind), fd = unix_socket(kind);
    char text[16] = "";
    TELL("bind", tie(server, name));
    if (kind != SOCK_DGRAM)
        TELL("listen", listen(server, 1));
    TELL("connect", join(fd, name));
    COUNT("send", send(fd, "hello", 5, 0));
    if (kind != SOCK_DGRAM)
        server = accept(server, NULL, NULL);
    COUNT("recv", recv(server, text, sizeof text, 0));
    struct address found = {.length = sizeof found.storage};
    TELL("getpeername", getpeername(fd, &found.any, &found.length));
    say("%s, %s", text, found.length == name.length && memcmp(&found, &name, name.length) == 0 ? "its name" : "another");
}

static struct address own_abstract(int index) {
    struct address name = {.un = {.sun_family = AF_UNIX}};
    int length = snprintf(name.un.sun_path + 1, 64, "conformance-%s-%d", param("ports"), index);
    name.length = offsetof(struct sockaddr_un, sun_path) + 1 + length;
    return name;
}

CASE(unix, own_stream, "a stream socket of the program's own") { serve_itself(SOCK_STREAM, own_abstract(0)); }
CASE(unix, own_datagram, "a datagram socket of the program's own") { serve_itself(SOCK_DGRAM, own_abstract(1)); }
CASE(unix, own_packets, "a sequential packet socket of the program's own") {
    serve_itself(SOCK_SEQPACKET, own_abstract(2));
}

CASE(unix, pair, "socketpair") {
    int pair[2];
    char text[8] = "";
    TELL("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    COUNT("send", send(pair[0], "hello", 5, 0));
    COUNT("recv", recv(pair[1], text, 5, 0));
    say_names(pair[0]);
}
