// The client in C: sockets, libcurl, OpenSSL, getaddrinfo and res_query. One line for each check: its name, what came of it.
// Usage: client CA-FILE; built with -lcurl -lssl -lcrypto -lresolv.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_S = 10, LARGE = 60000 };

static const char *ca_file;

static struct addrinfo *resolve(const char *host, const char *port, int type) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = type}, *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        printf("%s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    return found;
}

static int open_socket(const struct addrinfo *to, int connected) {
    int fd = socket(to->ai_family, to->ai_socktype, 0);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connected && connect(fd, to->ai_addr, to->ai_addrlen) != 0)
        printf("connect %s\n", strerrorname_np(errno));
    return fd;
}

static void http_raw(void) {
    struct addrinfo *to = resolve("echo-server", "80", SOCK_STREAM);
    int fd = open_socket(to, 1);
    dprintf(fd, "GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n");
    FILE *answer = fdopen(fd, "r");
    char line[512] = "", last[512] = "", status[32] = "";
    if (fgets(line, sizeof line, answer))
        sscanf(line, "HTTP/1.1 %31s", status);
    while (fgets(line, sizeof line, answer))
        memcpy(last, line, sizeof line);
    printf("http-raw %s %s\n", status, last);
    fclose(answer);
    freeaddrinfo(to);
}

static size_t collect(char *data, size_t size, size_t n, void *into) {
    strncat(into, data, n < 64 ? n : 64);
    return size * n;
}

static void http_library(const char *name, const char *url, const char *ca) {
    char body[256] = "";
    long status = 0, version = 0;
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)PATIENCE_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    if (ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version);
    if (code == CURLE_OK)
        printf("%s %ld %s%s\n", name, status, body, version == CURL_HTTP_VERSION_2_0 ? " HTTP/2" : "");
    else
        printf("%s %s\n", name, code == CURLE_PEER_FAILED_VERIFICATION ? "untrusted" : curl_easy_strerror(code));
    curl_easy_cleanup(curl);
}

static void tls_raw(void) {
    struct addrinfo *to = resolve("echo-server", "443", SOCK_STREAM);
    int fd = open_socket(to, 1);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_locations(context, ca_file, NULL);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    SSL_set_tlsext_host_name(tls, "echo-server");
    SSL_set1_host(tls, "echo-server");
    const char *request = "GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n";
    char answer[512] = "";
    if (SSL_connect(tls) == 1 && SSL_write(tls, request, (int)strlen(request)) > 0)
        SSL_read(tls, answer, sizeof answer - 1);
    printf("tls-raw %s %.12s\n", SSL_get_version(tls), answer);
    SSL_free(tls);
    SSL_CTX_free(context);
    close(fd);
    freeaddrinfo(to);
}

// Sends `size` bytes and tells the answer and whether it came from where they went.
static void udp(const char *name, const char *host, const char *port, size_t size, int connected) {
    static char sent[LARGE], got[LARGE];
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    struct addrinfo *to = resolve(host, port, SOCK_DGRAM);
    int fd = open_socket(to, connected);
    memset(sent, 'x', size);
    ssize_t n = connected ? send(fd, sent, size, 0) : sendto(fd, sent, size, 0, to->ai_addr, to->ai_addrlen);
    if (n >= 0)
        n = recvfrom(fd, got, sizeof got, 0, (struct sockaddr *)&from, &length);
    const struct sockaddr_in *asked = (const struct sockaddr_in *)to->ai_addr;
    if (n < 0)
        printf("%s %s\n", name, strerrorname_np(errno));
    else
        printf("%s %zd %s %s\n", name, n, memcmp(sent, got, (size_t)n) == 0 ? "same" : "different",
               from.sin_port == asked->sin_port && from.sin_addr.s_addr == asked->sin_addr.s_addr ? "asked" : "other");
    close(fd);
    freeaddrinfo(to);
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

static void lookup(const char *name) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char texts[128][INET6_ADDRSTRLEN];
    size_t n = 0;
    int error = getaddrinfo(name, NULL, &hints, &found);
    printf("lookup-%.*s ", (int)strcspn(name, "."), name);
    if (error != 0) {
        printf("%s\n", error == EAI_NONAME ? "EAI_NONAME" : error == EAI_NODATA ? "EAI_NODATA" : error == EAI_AGAIN ? "EAI_AGAIN" : "?");
        return;
    }
    for (struct addrinfo *one = found; one != NULL && n < 128; one = one->ai_next)
        getnameinfo(one->ai_addr, one->ai_addrlen, texts[n++], INET6_ADDRSTRLEN, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    qsort(texts, n, INET6_ADDRSTRLEN, by_text);
    if (n > 5)
        printf("%zu", n);
    for (size_t i = 0; n <= 5 && i < n; i++)
        printf("%s%s", i == 0 ? "" : ",", texts[i]);
    printf("\n");
}

static void query(const char *label, const char *name, int type) {
    static unsigned char answer[65536];
    int length = res_query(name, C_IN, type, answer, sizeof answer);
    printf("query-%s ", label);
    if (length < 0) {
        const char *errors[] = {"SUCCESS", "HOST_NOT_FOUND", "TRY_AGAIN", "NO_RECOVERY", "NO_DATA"};
        printf("%s\n", h_errno >= 0 && h_errno <= 4 ? errors[h_errno] : "INTERNAL");
        return;
    }
    ns_msg message;
    ns_rr record;
    ns_initparse(answer, length, &message);
    if (ns_msg_count(message, ns_s_an) > 5)
        printf("%d\n", ns_msg_count(message, ns_s_an));
    for (int i = 0; i < ns_msg_count(message, ns_s_an) && ns_msg_count(message, ns_s_an) <= 5; i++) {
        char text[NS_MAXDNAME] = "";
        ns_parserr(&message, ns_s_an, i, &record);
        const unsigned char *data = ns_rr_rdata(record);
        int skipped = type == ns_t_srv ? 6 : type == ns_t_mx ? 2 : 0;
        if (type == ns_t_txt)
            snprintf(text, sizeof text, "%.*s", data[0], data + 1);
        else
            dn_expand(answer, answer + length, data + skipped, text, sizeof text);
        if (type == ns_t_srv)
            printf("%u ", ns_get16(data + 4));
        printf("%s%s", text, i + 1 < ns_msg_count(message, ns_s_an) ? "," : "\n");
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    ca_file = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    http_raw();
    http_library("http-library", "http://echo-server/bytes/5", NULL);
    tls_raw();
    http_library("https-library", "https://echo-server/bytes/5", ca_file);
    http_library("https-untrusted", "https://echo-server/bytes/5", NULL);
    udp("udp-connected", "echo-server", "7001", 5, 1);
    udp("udp-unconnected", "echo-server", "7001", 5, 0);
    udp("udp-elsewhere", "echo-headless", "7008", 5, 0);
    udp("udp-large", "echo-headless", "7001", LARGE, 0);
    udp("udp-refused", "echo-headless", "7099", 5, 1);
    const char *names[] = {"a.dns.test",     "both.dns.test",    "alias.dns.test",    "several.dns.test",
                           "large.dns.test", "absent.dns.test",  "txt.dns.test",      "servfail.dns.test",
                           "refused.dns.test"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        lookup(names[i]);
    query("txt", "txt.dns.test", ns_t_txt);
    query("mx", "mx.dns.test", ns_t_mx);
    query("srv", "_grpc._tcp.dns.test", ns_t_srv);
    query("cname", "alias.dns.test", ns_t_cname);
    query("ptr", "31.0.99.10.in-addr.arpa", ns_t_ptr);
    query("huge", "huge.dns.test", ns_t_txt);
    query("absent", "absent.dns.test", ns_t_a);
    query("nodata", "txt.dns.test", ns_t_mx);
    query("servfail", "servfail.dns.test", ns_t_a);
    return 0;
}
