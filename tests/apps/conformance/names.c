/* Names: getaddrinfo and getnameinfo. */
#include "conformance.h"

static const char *code_name(int code) {
    static const struct {
        int code;
        const char *name;
    } codes[] = {{0, "ok"},
                 {EAI_BADFLAGS, "EAI_BADFLAGS"},
                 {EAI_NONAME, "EAI_NONAME"},
                 {EAI_AGAIN, "EAI_AGAIN"},
                 {EAI_FAIL, "EAI_FAIL"},
                 {EAI_NODATA, "EAI_NODATA"},
                 {EAI_FAMILY, "EAI_FAMILY"},
                 {EAI_SOCKTYPE, "EAI_SOCKTYPE"},
                 {EAI_SERVICE, "EAI_SERVICE"},
                 {EAI_ADDRFAMILY, "EAI_ADDRFAMILY"},
                 {EAI_MEMORY, "EAI_MEMORY"},
                 {EAI_SYSTEM, "EAI_SYSTEM"},
                 {EAI_OVERFLOW, "EAI_OVERFLOW"},
                 {EAI_IDN_ENCODE, "EAI_IDN_ENCODE"}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].name;
    return "another code";
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* All that getaddrinfo gives, sorted by text: the order of equal addresses is the name server's mood. */
static void look_up(const char *name, const char *service, const struct addrinfo *hints) {
    struct addrinfo *list = NULL;
    char *texts[32];
    size_t count = 0;
    int code = getaddrinfo(name, service, hints, &list);
    say("%s", code == EAI_SYSTEM ? error_name(errno) : code_name(code));
    if (code != 0)
        return;
    if (list->ai_canonname)
        say("canonical %s", list->ai_canonname);
    for (struct addrinfo *one = list; one && count < 32; one = one->ai_next) {
        char text[256];
        unsigned scope = one->ai_family == AF_INET6 ? ((struct sockaddr_in6 *)one->ai_addr)->sin6_scope_id : 0;
        snprintf(text, sizeof text, "%s type %d protocol %d scope %u%s", shown(one->ai_addr, one->ai_addrlen),
                 one->ai_socktype, one->ai_protocol, scope, one != list && one->ai_canonname ? " named" : "");
        texts[count++] = strdup(text);
    }
    qsort(texts, count, sizeof *texts, by_text);
    for (size_t i = 0; i < count; i++)
        say("%s", texts[i]);
    freeaddrinfo(list);
}

/* One kind of socket, so that lines stay short. */
static void look_up_stream(const char *name, int family, int flags) {
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    look_up(name, NULL, &hints);
}

#define NAME(case_name, what, name) \
    CASE(lookup, case_name, what) { look_up_stream(name, AF_UNSPEC, 0); }

NAME(service, "a Service of the same namespace", "echo-server")
NAME(service_namespace, "a Service with its namespace", "echo-server.default")
NAME(service_other, "a Service of another namespace", "echo-server.other")
NAME(service_svc, "a Service up to `svc`", "echo-server.default.svc")
NAME(service_full, "a Service with its full name", "echo-server.default.svc.cluster.local")
NAME(service_dot, "a Service with its full name and a dot", "echo-server.default.svc.cluster.local.")
NAME(short_dot, "a short name with a dot is not searched", "echo-server.")
NAME(upper_case, "capital letters", "ECHO-Server.Default.SVC.cluster.LOCAL")
NAME(headless, "a headless Service", "echo-headless")
NAME(stateful, "a pod of a StatefulSet", "echo-stateful-0.echo-stateful")
NAME(kubernetes, "the API server's Service", "kubernetes")
NAME(outside, "a name outside of the cluster", "outside.mirror.test")
NAME(six, "a name with an IPv6 address only", "six.mirror.test")
NAME(missing, "a name that the cluster's zone does not have", "no-such-service.default.svc.cluster.local")
NAME(missing_short, "a short name that nobody has", "no-such-service")
NAME(missing_zone, "a name in a zone that nobody serves", "www.no-such-zone.test")
NAME(missing_namespace, "a Service of a namespace that does not exist", "echo-server.no-such-namespace.svc.cluster.local")
NAME(underscore, "underscores", "_http._tcp.echo-headless.default.svc.cluster.local")
NAME(underscore_missing, "underscores in a name that nobody has", "no_such_name.default.svc.cluster.local")
NAME(dot_local, "a name that ends in .local", "printer.local")
NAME(label_too_long, "a label of 64 bytes",
     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.default.svc.cluster.local")
NAME(label_longest, "a label of 63 bytes",
     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg.default.svc.cluster.local")
NAME(empty, "the empty name", "")
NAME(dot, "a dot", ".")
NAME(two_dots, "an empty label", "echo-server..default")
NAME(leading_dot, "a leading dot", ".echo-server")
NAME(space, "a space", "echo server")
NAME(bang, "a character that no host name has", "echo!server")
NAME(localhost, "localhost", "localhost")
NAME(localhost_dot, "localhost with a dot", "localhost.")
NAME(below_localhost, "a name below localhost", "app.localhost")
NAME(hosts_file, "a name of the pod's /etc/hosts", "ip6-allnodes")
NAME(hosts_file_loopback, "another name of the pod's /etc/hosts", "ip6-localhost")
NAME(numeric, "a numeric address", "10.1.2.3")
NAME(numeric_short, "a short numeric address", "127.1")
NAME(numeric_hex, "a hexadecimal address", "0x7f000001")
NAME(numeric_bad, "what is nearly an address", "10.1.2.300")
NAME(numeric_six, "a numeric IPv6 address", "2001:db8::1")
NAME(numeric_mapped, "a v4-mapped address", "::ffff:10.1.2.3")
NAME(numeric_bad_six, "what is nearly an IPv6 address", "2001:db8:::1")
NAME(scope_name, "a scope by its name", "fe80::1%lo")
NAME(scope_number, "a scope by its number", "fe80::1%1")
NAME(scope_missing, "a scope that does not exist", "fe80::1%no-such")

CASE(lookup, name_too_long, "a name of 300 bytes") {
    char name[301];
    for (size_t i = 0; i < 300; i++)
        name[i] = i % 10 == 9 ? '.' : 'a';
    name[300] = '\0';
    look_up_stream(name, AF_UNSPEC, 0);
}

CASE(lookup, pod_name, "the pod's own name") {
    char name[256] = "";
    gethostname(name, sizeof name);
    look_up_stream(name, AF_UNSPEC, AI_CANONNAME);
}

CASE(lookup, pod_address_name, "a pod by the name of its address") {
    char name[256], *dot;
    snprintf(name, sizeof name, "%s", param("echo-pod"));
    while ((dot = strchr(name, '.')))
        *dot = '-';
    strcat(name, ".default.pod.cluster.local");
    look_up_stream(name, AF_UNSPEC, 0);
}

CASE(lookup, four, "IPv4 only") { look_up_stream("echo-server", AF_INET, 0); }
CASE(lookup, six_of_four, "IPv6 of a name that has none") { look_up_stream("echo-server", AF_INET6, 0); }
CASE(lookup, four_of_six, "IPv4 of a name that has none") { look_up_stream("six.mirror.test", AF_INET, 0); }
CASE(lookup, six_only, "IPv6 only") { look_up_stream("six.mirror.test", AF_INET6, 0); }
CASE(lookup, six_of_missing, "IPv6 of a name that nobody has") {
    look_up_stream("no-such-service.default.svc.cluster.local", AF_INET6, 0);
}
CASE(lookup, mapped, "AI_V4MAPPED") { look_up_stream("echo-server", AF_INET6, AI_V4MAPPED); }
CASE(lookup, mapped_all, "AI_V4MAPPED and AI_ALL") { look_up_stream("echo-server", AF_INET6, AI_V4MAPPED | AI_ALL); }
CASE(lookup, mapped_six, "AI_V4MAPPED of an IPv6 name") { look_up_stream("six.mirror.test", AF_INET6, AI_V4MAPPED); }
CASE(lookup, mapped_numeric, "AI_V4MAPPED of a number") { look_up_stream("10.1.2.3", AF_INET6, AI_V4MAPPED); }
CASE(lookup, numeric_family, "a number of the wrong family") { look_up_stream("10.1.2.3", AF_INET6, 0); }
CASE(lookup, configured, "AI_ADDRCONFIG") { look_up_stream("echo-server", AF_UNSPEC, AI_ADDRCONFIG); }
CASE(lookup, configured_six, "AI_ADDRCONFIG of an IPv6 name") {
    look_up_stream("six.mirror.test", AF_UNSPEC, AI_ADDRCONFIG);
}
CASE(lookup, canonical, "AI_CANONNAME of a short name") { look_up_stream("echo-server", AF_UNSPEC, AI_CANONNAME); }
CASE(lookup, canonical_case, "AI_CANONNAME of capital letters") {
    look_up_stream("ECHO-SERVER", AF_UNSPEC, AI_CANONNAME);
}
CASE(lookup, canonical_dot, "AI_CANONNAME of a name with a dot") {
    look_up_stream("echo-server.default.svc.cluster.local.", AF_UNSPEC, AI_CANONNAME);
}
CASE(lookup, canonical_outside, "AI_CANONNAME of a name outside") {
    look_up_stream("outside.mirror.test", AF_UNSPEC, AI_CANONNAME);
}
CASE(lookup, canonical_numeric, "AI_CANONNAME of a number") { look_up_stream("10.1.2.3", AF_UNSPEC, AI_CANONNAME); }
CASE(lookup, canonical_localhost, "AI_CANONNAME of localhost") {
    look_up_stream("localhost", AF_UNSPEC, AI_CANONNAME);
}
CASE(lookup, numeric_host, "AI_NUMERICHOST with a name") { look_up_stream("echo-server", AF_UNSPEC, AI_NUMERICHOST); }
CASE(lookup, numeric_host_number, "AI_NUMERICHOST with a number") {
    look_up_stream("10.1.2.3", AF_UNSPEC, AI_NUMERICHOST);
}
CASE(lookup, idn_ascii, "AI_IDN with plain letters") { look_up_stream("echo-server", AF_UNSPEC, AI_IDN); }
CASE(lookup, not_ascii, "letters beyond ASCII") { look_up_stream("grüße", AF_UNSPEC, 0); }
CASE(lookup, bad_flags, "flags that do not exist") { look_up_stream("echo-server", AF_UNSPEC, 0x8000); }
CASE(lookup, bad_family, "a family that does not exist") { look_up_stream("echo-server", 99, 0); }
CASE(lookup, canonical_nothing, "AI_CANONNAME without a name") {
    struct addrinfo hints = {.ai_flags = AI_CANONNAME};
    look_up(NULL, "80", &hints);
}
CASE(lookup, nothing, "neither name nor service") { look_up(NULL, NULL, NULL); }
CASE(lookup, no_hints, "without hints") { look_up("echo-server", "80", NULL); }
CASE(lookup, passive, "AI_PASSIVE without a name") {
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    look_up(NULL, "80", &hints);
}
CASE(lookup, active, "without a name") {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    look_up(NULL, "80", &hints);
}

static void look_up_service(const char *service, int type, int protocol, int flags) {
    struct addrinfo hints = {.ai_socktype = type, .ai_protocol = protocol, .ai_flags = flags};
    look_up("echo-server", service, &hints);
}

CASE(lookup, service_name, "a service by its name") { look_up_service("https", SOCK_STREAM, 0, 0); }
CASE(lookup, service_datagram, "a service by its name, for datagrams") { look_up_service("domain", SOCK_DGRAM, 0, 0); }
CASE(lookup, service_every, "a service for every type of socket") { look_up_service("domain", 0, 0, 0); }
CASE(lookup, service_raw, "a service for raw sockets") { look_up_service("http", SOCK_RAW, 0, 0); }
CASE(lookup, service_protocol, "a protocol without a type") { look_up_service("80", 0, IPPROTO_UDP, 0); }
CASE(lookup, service_missing, "a service that does not exist") { look_up_service("no-such", SOCK_STREAM, 0, 0); }
CASE(lookup, service_wrong_type, "a service that has another type") { look_up_service("tftp", SOCK_STREAM, 0, 0); }
CASE(lookup, service_number, "AI_NUMERICSERV with a number") {
    look_up_service("8080", SOCK_STREAM, 0, AI_NUMERICSERV);
}
CASE(lookup, service_not_number, "AI_NUMERICSERV with a name") {
    look_up_service("http", SOCK_STREAM, 0, AI_NUMERICSERV);
}
CASE(lookup, service_large, "ports that are too large") {
    look_up_service("65535", SOCK_STREAM, 0, 0);
    look_up_service("65536", SOCK_STREAM, 0, 0);
    look_up_service("-1", SOCK_STREAM, 0, 0);
    look_up_service("", SOCK_STREAM, 0, 0);
}
CASE(lookup, bad_type, "a type of socket that does not exist") { look_up_service("80", 77, 0, 0); }
CASE(lookup, type_and_protocol, "a type and a protocol that do not fit") {
    look_up_service("80", SOCK_STREAM, IPPROTO_UDP, 0);
}

static void *look_up_many(void *argument) {
    for (int i = 0; i < 10; i++) {
        struct addrinfo *list = NULL;
        *(int *)argument += getaddrinfo("echo-server", "80", NULL, &list) == 0;
        if (list)
            freeaddrinfo(list);
    }
    return NULL;
}

CASE(lookup, threads, "eight threads look ten names up each") {
    pthread_t threads[8];
    int good[8] = {0}, sum = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, look_up_many, &good[i]);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        sum += good[i];
    }
    say("%d", sum);
}

CASE(lookup, asynchronous, "getaddrinfo_a") {
    struct gaicb request = {.ar_name = "echo-server", .ar_service = "80"}, *list[] = {&request};
    say("%s", code_name(getaddrinfo_a(GAI_WAIT, list, 1, NULL)));
    say("%s", code_name(gai_error(&request)));
}

CASE(lookup, then_connect, "what a look-up gives can be connected to") {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    say("%s", code_name(getaddrinfo("echo-server", "80", &hints, &list)));
    if (!list)
        return;
    int fd = socket(list->ai_family, list->ai_socktype, list->ai_protocol);
    TELL("connect", connect(fd, list->ai_addr, list->ai_addrlen));
    say_names(fd);
}

CASE(lookup, program, "the program getent") {
    char text[256] = "";
    FILE *output = popen("getent hosts echo-server", "r");
    if (output && fgets(text, sizeof text, output))
        say("%.*s", (int)strcspn(text, "\n"), text);
    say("exit %d", WEXITSTATUS(pclose(output)));
}

static void name_of_address(struct address address, int flags) {
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    int code = getnameinfo(&address.any, address.length, host, sizeof host, service, sizeof service, flags);
    say("%s", code_name(code));
    say("'%s' '%s'", host, service);
}

CASE(nameinfo, service, "the name of a Service's address") { name_of_address(at("echo", 80), NI_NUMERICSERV); }
CASE(nameinfo, required, "NI_NAMEREQD of a Service's address") { name_of_address(at("echo", 443), NI_NAMEREQD | NI_NUMERICSERV); }
CASE(nameinfo, numeric, "NI_NUMERICHOST and NI_NUMERICSERV") {
    name_of_address(at("echo", 80), NI_NUMERICHOST | NI_NUMERICSERV);
}
CASE(nameinfo, short_name, "NI_NOFQDN") { name_of_address(at("echo", 80), NI_NOFQDN | NI_NUMERICSERV); }
CASE(nameinfo, datagram, "NI_DGRAM") { name_of_address(at("echo", 514), NI_DGRAM); }
CASE(nameinfo, stream, "the same port without NI_DGRAM") { name_of_address(at("echo", 514), 0); }
CASE(nameinfo, own, "the name of the pod's own address") { name_of_address(at("pod", 80), NI_NUMERICSERV); }
CASE(nameinfo, headless, "the name of a pod behind a headless Service") { name_of_address(at("stateful", 80), NI_NUMERICSERV); }
CASE(nameinfo, unknown, "an address without a name") { name_of_address(at("203.0.113.1", 80), NI_NUMERICSERV); }
CASE(nameinfo, unknown_required, "NI_NAMEREQD of an address without a name") {
    name_of_address(at("203.0.113.1", 80), NI_NAMEREQD | NI_NUMERICSERV);
}
CASE(nameinfo, loopback, "the name of 127.0.0.1") { name_of_address(at("127.0.0.1", 80), NI_NUMERICSERV); }
CASE(nameinfo, loopback_six, "the name of ::1") { name_of_address(six("::1", 80), NI_NUMERICSERV); }
CASE(nameinfo, mapped, "the name of a v4-mapped address") { name_of_address(mapped("echo", 80), NI_NUMERICSERV); }
CASE(nameinfo, six_unknown, "an IPv6 address without a name") { name_of_address(six("2001:db8::1", 80), NI_NUMERICSERV); }
CASE(nameinfo, hosts_file, "an address of the pod's /etc/hosts") { name_of_address(six("fe00::1", 80), NI_NUMERICSERV); }
CASE(nameinfo, scope, "a link-local address with a scope") {
    struct address address = six("fe80::1", 80);
    address.v6.sin6_scope_id = 1;
    name_of_address(address, NI_NUMERICHOST | NI_NUMERICSERV);
}
CASE(nameinfo, errors, "bad arguments") {
    struct address address = at("echo", 80);
    char host[4], service[4];
    int code = getnameinfo(&address.any, address.length, host, sizeof host, NULL, 0, 0);
    say("little room %s", code_name(code));
    code = getnameinfo(&address.any, address.length, NULL, 0, service, 2, NI_NUMERICSERV);
    say("little room for the service %s", code_name(code));
    say("no room %s", code_name(getnameinfo(&address.any, address.length, NULL, 0, NULL, 0, 0)));
    say("short %s", code_name(getnameinfo(&address.any, 4, host, sizeof host, NULL, 0, 0)));
    say("flags %s", code_name(getnameinfo(&address.any, address.length, host, sizeof host, NULL, 0, 0x8000)));
    address.any.sa_family = 99;
    say("family %s", code_name(getnameinfo(&address.any, address.length, host, sizeof host, NULL, 0, 0)));
}
