/* Names: gethostbyname and its kin, and the resolver's own functions. */
#include "conformance.h"

#include <arpa/nameser.h>
#include <resolv.h>

static const char *h_name(int error) {
    const char *names[] = {"NETDB_SUCCESS", "HOST_NOT_FOUND", "TRY_AGAIN", "NO_RECOVERY", "NO_DATA"};
    return error == -1 ? "NETDB_INTERNAL" : error >= 0 && error <= 4 ? names[error] : "another";
}

static void say_host(const struct hostent *host) {
    if (!host) {
        say("none, %s", h_name(h_errno));
        return;
    }
    say("%s family %d length %d", host->h_name, host->h_addrtype, host->h_length);
    for (char **alias = host->h_aliases; *alias; alias++)
        say("alias %s", *alias);
    for (char **address = host->h_addr_list; *address; address++) {
        char text[INET6_ADDRSTRLEN];
        say("%s", inet_ntop(host->h_addrtype, *address, text, sizeof text));
    }
}

#define HOST(case_name, what, name) \
    CASE(hostent, case_name, what) { say_host(gethostbyname(name)); }

HOST(service, "gethostbyname of a short name", "echo-server")
HOST(full, "gethostbyname of a full name", "echo-server.default.svc.cluster.local")
HOST(full_dot, "gethostbyname of a full name with a dot", "echo-server.default.svc.cluster.local.")
HOST(missing, "gethostbyname of a missing name", "no-such-service.default.svc.cluster.local")
HOST(missing_short, "gethostbyname of a missing short name", "no-such-service")
HOST(six_only, "gethostbyname of a name that has no IPv4 address", "six.mirror.test")
HOST(numeric, "gethostbyname of a number", "10.1.2.3")
HOST(numeric_short, "gethostbyname of a short number", "127.1")
HOST(numeric_bad, "gethostbyname of what is nearly a number", "10.1.2.300")
HOST(empty, "gethostbyname of the empty name", "")
HOST(dot, "gethostbyname of a dot", ".")
HOST(localhost, "gethostbyname of localhost", "localhost")
HOST(hosts_file, "gethostbyname of a name of the pod's /etc/hosts", "ip6-allnodes")
HOST(headless, "gethostbyname of a headless Service", "echo-headless")
HOST(localhost_below, "gethostbyname of a name below localhost", "api.localhost")
HOST(alias, "gethostbyname of a name with two aliases", "alias.dns.test")
HOST(alias_service, "gethostbyname of an alias of a Service", "service.dns.test")
HOST(dangling, "gethostbyname of an alias of nothing", "dangling.dns.test")

CASE(hostent, own, "gethostbyname of the pod's own name") {
    char name[256] = "";
    gethostname(name, sizeof name);
    say_host(gethostbyname(name));
}

CASE(hostent, six, "gethostbyname2 for IPv6") { say_host(gethostbyname2("six.mirror.test", AF_INET6)); }
CASE(hostent, six_of_four, "gethostbyname2 for IPv6 of a name that has none") {
    say_host(gethostbyname2("echo-server", AF_INET6));
}
CASE(hostent, bad_family, "gethostbyname2 for a family that does not exist") {
    say_host(gethostbyname2("echo-server", 99));
}
CASE(hostent, texts, "herror's texts") {
    for (int error = 0; error <= 4; error++)
        say("%s", hstrerror(error));
    gethostbyname("no-such-service.default.svc.cluster.local");
    say("%s", hstrerror(h_errno));
}

CASE(hostent, reentrant, "gethostbyname_r with ever more room") {
    struct hostent host, *found;
    char room[2048];
    int error = 77, last = -1;
    for (size_t size = 0; size <= 1024; size += 16) {
        found = &host;
        int code = gethostbyname_r("echo-server", &host, room, size, &found, &error);
        if (code != last)
            say("%s, %s, %s", code == 0 ? "ok" : error_name(code), found ? "found" : "none",
                code == 0 ? "" : h_name(error));
        last = code;
    }
    say_host(found);
}

CASE(hostent, reentrant_missing, "gethostbyname_r of a missing name") {
    struct hostent host, *found = &host;
    char room[2048];
    int error = 77;
    int code = gethostbyname_r("no-such-service.default.svc.cluster.local", &host, room, sizeof room, &found, &error);
    say("%d, %s, %s", code, found ? "found" : "none", h_name(error));
}

CASE(hostent, reentrant_six, "gethostbyname2_r") {
    struct hostent host, *found = &host;
    char room[2048];
    int error = 77;
    int code = gethostbyname2_r("six.mirror.test", AF_INET6, &host, room, sizeof room, &found, &error);
    say("%d", code);
    say_host(found);
    code = gethostbyname2_r("echo-server", AF_INET6, &host, room, sizeof room, &found, &error);
    say("%d, %s, %s", code, found ? "found" : "none", h_name(error));
}

static void say_address(struct address address) {
    if (address.any.sa_family == AF_INET)
        say_host(gethostbyaddr(&address.v4.sin_addr, 4, AF_INET));
    else
        say_host(gethostbyaddr(&address.v6.sin6_addr, 16, AF_INET6));
}

CASE(hostent, address_service, "gethostbyaddr of a Service") { say_address(at("echo", 0)); }
CASE(hostent, address_own, "gethostbyaddr of the pod itself") { say_address(at("pod", 0)); }
CASE(hostent, address_unknown, "gethostbyaddr of an address without a name") { say_address(at("203.0.113.1", 0)); }
CASE(hostent, address_unknown_zone, "gethostbyaddr of a cluster's address without a name") {
    say_address(at("hole", 0));
}
CASE(hostent, address_loopback, "gethostbyaddr of loopback") {
    say_address(at("127.0.0.1", 0));
    say_address(six("::1", 0));
}
CASE(hostent, address_mapped, "gethostbyaddr of a v4-mapped address") { say_address(mapped("echo", 0)); }
CASE(hostent, address_errors, "gethostbyaddr with bad arguments") {
    struct address address = at("echo", 0);
    errno = 0;
    say_host(gethostbyaddr(&address.v4.sin_addr, 3, AF_INET));
    say_host(gethostbyaddr(&address.v4.sin_addr, 4, AF_INET6));
    say_host(gethostbyaddr(&address.v4.sin_addr, 4, 99));
}

CASE(hostent, address_reentrant, "gethostbyaddr_r with little and with enough room") {
    struct address address = at("echo", 0);
    struct hostent host, *found = &host;
    char room[2048];
    int error = 77;
    int code = gethostbyaddr_r(&address.v4.sin_addr, 4, AF_INET, &host, room, 24, &found, &error);
    say("%s, %s", code == 0 ? "ok" : error_name(code), found ? "found" : "none");
    code = gethostbyaddr_r(&address.v4.sin_addr, 4, AF_INET, &host, room, sizeof room, &found, &error);
    say("%d", code);
    say_host(found);
}

CASE(hostent, entries, "gethostent reads /etc/hosts") {
    int count = 0;
    sethostent(0);
    for (struct hostent *host; (host = gethostent()); count++)
        say("%s", host->h_name);
    say("%d entries", count);
}

/* The records of an answer as text, sorted. */
static void say_answer(const unsigned char *answer, int length) {
    ns_msg message;
    if (length < 0) {
        say("%d, %s", length, h_name(h_errno));
        return;
    }
    if (ns_initparse(answer, length, &message) != 0) {
        say("not a message");
        return;
    }
    say("rcode %d, %d questions, %d answers", ns_msg_getflag(message, ns_f_rcode), ns_msg_count(message, ns_s_qd),
        ns_msg_count(message, ns_s_an));
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        ns_rr record;
        char name[256] = "", text[INET6_ADDRSTRLEN] = "";
        if (ns_parserr(&message, ns_s_an, i, &record) != 0)
            continue;
        const unsigned char *data = ns_rr_rdata(record);
        int kind = ns_rr_type(record);
        if (kind == ns_t_a || kind == ns_t_aaaa) {
            inet_ntop(kind == ns_t_a ? AF_INET : AF_INET6, data, text, sizeof text);
            say("%s address %s", ns_rr_name(record), text);
        } else if (kind == ns_t_srv) {
            dn_expand(answer, answer + length, data + 6, name, sizeof name);
            say("%s server %d %d %d %s", ns_rr_name(record), ns_get16(data), ns_get16(data + 2), ns_get16(data + 4), name);
        } else if (kind == ns_t_ptr || kind == ns_t_cname || kind == ns_t_ns) {
            dn_expand(answer, answer + length, data, name, sizeof name);
            say("%s type %d %s", ns_rr_name(record), kind, name);
        } else if (kind == ns_t_txt) {
            say("%s text %.*s", ns_rr_name(record), data[0], data + 1);
        } else {
            say("%s type %d", ns_rr_name(record), kind);
        }
    }
}

static unsigned char answer[8192];

#define ASK(case_name, what, name, kind) \
    CASE(resolver, case_name, what) { say_answer(answer, res_query(name, ns_c_in, kind, answer, sizeof answer)); }
#define SEARCH(case_name, what, name, kind) \
    CASE(resolver, case_name, what) { say_answer(answer, res_search(name, ns_c_in, kind, answer, sizeof answer)); }

ASK(query_a, "res_query for A", "echo-server.default.svc.cluster.local", ns_t_a)
ASK(query_dot, "res_query for A of a name with a dot", "echo-server.default.svc.cluster.local.", ns_t_a)
ASK(query_aaaa, "res_query for AAAA", "six.mirror.test", ns_t_aaaa)
ASK(query_no_aaaa, "res_query for AAAA of a name that has none", "echo-server.default.svc.cluster.local", ns_t_aaaa)
ASK(query_srv, "res_query for SRV", "_http._tcp.echo-server.default.svc.cluster.local", ns_t_srv)
ASK(query_txt, "res_query for TXT", "dns-version.cluster.local", ns_t_txt)
ASK(query_ns, "res_query for NS", "cluster.local", ns_t_ns)
ASK(query_soa, "res_query for SOA", "cluster.local", ns_t_soa)
ASK(query_mx, "res_query for MX that nobody has", "echo-server.default.svc.cluster.local", ns_t_mx)
ASK(query_missing, "res_query for a name that nobody has", "no-such-service.default.svc.cluster.local", ns_t_a)
ASK(query_zone, "res_query in a zone that nobody serves", "www.no-such-zone.test", ns_t_a)
ASK(query_short, "res_query for a short name is not searched", "echo-server", ns_t_a)
ASK(query_empty, "res_query for the root", "", ns_t_a)
ASK(query_outside, "res_query for a name outside", "outside.mirror.test", ns_t_a)
SEARCH(search_short, "res_search for a short name", "echo-server", ns_t_a)
SEARCH(search_other, "res_search for a name of another namespace", "echo-server.other", ns_t_a)
SEARCH(search_dot, "res_search for a short name with a dot", "echo-server.", ns_t_a)
SEARCH(search_missing, "res_search for a name that nobody has", "no-such-service", ns_t_a)
SEARCH(search_no_data, "res_search for AAAA of a name that has none", "echo-server", ns_t_aaaa)
SEARCH(search_srv, "res_search for SRV", "_http._tcp.echo-headless", ns_t_srv)

CASE(resolver, query_ptr, "res_query for PTR") {
    char name[128];
    unsigned char *bytes = (unsigned char *)&(struct in_addr){0};
    struct address address = at("echo", 0);
    bytes = (unsigned char *)&address.v4.sin_addr;
    snprintf(name, sizeof name, "%d.%d.%d.%d.in-addr.arpa", bytes[3], bytes[2], bytes[1], bytes[0]);
    say_answer(answer, res_query(name, ns_c_in, ns_t_ptr, answer, sizeof answer));
}

CASE(resolver, query_class, "res_query for another class") {
    say_answer(answer, res_query("version.bind", ns_c_chaos, ns_t_txt, answer, sizeof answer));
}

CASE(resolver, query_long, "res_query for a name that is too long") {
    say_answer(answer, res_query("aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.test", ns_c_in, ns_t_a,
                                 answer, sizeof answer));
}

CASE(resolver, query_room, "res_query with too little room") {
    int length = res_query("echo-server.default.svc.cluster.local", ns_c_in, ns_t_a, answer, 20);
    say("%s", length > 20 ? "the whole length" : length < 0 ? h_name(h_errno) : "what fits");
}

CASE(resolver, query_domain, "res_querydomain") {
    say_answer(answer, res_querydomain("echo-server", "other.svc.cluster.local", ns_c_in, ns_t_a, answer, sizeof answer));
}

CASE(resolver, own_state, "res_ninit, res_nquery and res_nsearch") {
    struct __res_state state = {0};
    TELL("res_ninit", res_ninit(&state));
    say_answer(answer, res_nquery(&state, "echo-server.default.svc.cluster.local", ns_c_in, ns_t_a, answer, sizeof answer));
    say_answer(answer, res_nsearch(&state, "echo-server", ns_c_in, ns_t_a, answer, sizeof answer));
    int length = res_nquery(&state, "no-such-service.default.svc.cluster.local", ns_c_in, ns_t_a, answer, sizeof answer);
    say("%d, %s, %s", length, h_name(state.res_h_errno), h_name(h_errno));
    res_nclose(&state);
}

CASE(resolver, made, "res_mkquery and res_send") {
    unsigned char question[512];
    int length = res_mkquery(ns_o_query, "echo-server.default.svc.cluster.local", ns_c_in, ns_t_a, NULL, 0, NULL, question,
                             sizeof question);
    COUNT("res_mkquery", length);
    int got = res_send(question, length, answer, sizeof answer);
    say_answer(answer, got);
    say("%s", got > 2 && memcmp(question, answer, 2) == 0 ? "its number" : "another number");
}

CASE(resolver, made_missing, "res_send gives an answer of any kind") {
    unsigned char question[512];
    int length = res_mkquery(ns_o_query, "no-such-service.default.svc.cluster.local", ns_c_in, ns_t_a, NULL, 0, NULL,
                             question, sizeof question);
    say_answer(answer, res_send(question, length, answer, sizeof answer));
}

CASE(resolver, settings, "name servers and search list that res_init finds") {
    TELL("res_init", res_init());
    say("%d servers", _res.nscount);
    for (int i = 0; i < _res.nscount; i++)
        say("%s", shown(&_res.nsaddr_list[i], sizeof _res.nsaddr_list[i]));
    for (int i = 0; i < MAXDNSRCH && _res.dnsrch[i]; i++)
        say("search %s", _res.dnsrch[i]);
    say("ndots %d", _res.ndots);
}

/* A question by hand, as a resolver of its own would ask it. */
static int make_question(unsigned char *question, int room) {
    return res_mkquery(ns_o_query, "echo-server.default.svc.cluster.local", ns_c_in, ns_t_a, NULL, 0, NULL, question, room);
}

CASE(resolver, by_datagram, "a question by hand over UDP to the name server of /etc/resolv.conf") {
    unsigned char question[512];
    int length = make_question(question, sizeof question), fd = udp();
    struct address from = {.length = sizeof from.storage};
    res_init();
    struct address to = {.v4 = _res.nsaddr_list[0], .length = sizeof(struct sockaddr_in)};
    COUNT("sendto", sendto(fd, question, length, 0, &to.any, to.length));
    ssize_t got = recvfrom(fd, answer, sizeof answer, 0, &from.any, &from.length);
    say("from %s", got < 0 ? error_name(errno) : shown(&from, from.length));
    if (got > 0)
        say_answer(answer, got);
}

CASE(resolver, by_connected_datagram, "the same on a connected socket") {
    unsigned char question[512];
    int length = make_question(question, sizeof question), fd = udp();
    TELL("connect", join(fd, at("dns", 53)));
    COUNT("send", send(fd, question, length, 0));
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    if (got < 0)
        say("recv %s", error_name(errno));
    else
        say_answer(answer, got);
}

CASE(resolver, by_stream, "the same over TCP") {
    unsigned char question[514];
    int length = make_question(question + 2, 512), fd = tcp();
    question[0] = length >> 8, question[1] = length;
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    TELL("connect", join(fd, at("dns", 53)));
    COUNT("send", send(fd, question, length + 2, 0));
    unsigned char head[2] = {0};
    COUNT("recv", recv(fd, head, 2, MSG_WAITALL));
    int expected = head[0] << 8 | head[1];
    say_answer(answer, recv(fd, answer, expected, MSG_WAITALL));
}
