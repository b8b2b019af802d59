/* Calls every function that takes a path with the path that is its argument, and prints one line each. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int __open_2(const char *, int), __open64_2(const char *, int);
int __openat_2(int, const char *, int), __openat64_2(int, const char *, int);
int __xstat(int, const char *, struct stat *), __lxstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *), __lxstat64(int, const char *, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int), __fxstatat64(int, int, const char *, struct stat64 *, int);
ssize_t __readlink_chk(const char *, char *, size_t, size_t), __readlinkat_chk(int, const char *, char *, size_t, size_t);
char *__realpath_chk(const char *, char *, size_t);

#define UNUSUAL 117
#if defined(__x86_64__)
#define STAT_VERSION 1
#else
#define STAT_VERSION 0
#endif

static const char *label;

static void fails(void) { printf("%s errno=%d\n", label, errno); }

static void opened(int fd) {
    char text[64] = "";
    if (fd < 0) return fails();
    if (read(fd, text, sizeof text - 1) < 0) printf("%s unread errno=%d\n", label, errno);
    else printf("%s %s%s", label, errno == UNUSUAL ? "" : "dirty ", text);
    close(fd);
}

static void streamed(FILE *file) {
    char text[64] = "";
    if (!file) return fails();
    if (!fgets(text, sizeof text, file)) strcpy(text, "nothing\n");
    printf("%s %s", label, text);
    fclose(file);
}

static void described(int result, unsigned mode, unsigned long long size) {
    if (result) fails();
    else printf("%s mode=%o size=%llu\n", label, mode, size);
}

static void linked(ssize_t length) {
    if (length < 0) fails();
    else printf("%s length=%zd\n", label, length);
}

static void resolved(char *path) {
    if (!path) fails();
    else printf("%s %s\n", label, path);
}

#define CASE(what, call) (label = what, errno = UNUSUAL, call)

static void opens(const char *path) {
    CASE("open", opened(open(path, O_RDONLY)));
    CASE("open64", opened(open64(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)));
    CASE("openat", opened(openat(AT_FDCWD, path, O_RDONLY)));
    CASE("openat64", opened(openat64(*path == '/' ? -1 : AT_FDCWD, path, O_RDONLY)));
    CASE("__open_2", opened(__open_2(path, O_RDONLY)));
    CASE("__open64_2", opened(__open64_2(path, O_RDONLY)));
    CASE("__openat_2", opened(__openat_2(AT_FDCWD, path, O_RDONLY)));
    CASE("__openat64_2", opened(__openat64_2(AT_FDCWD, path, O_RDONLY)));
    CASE("fopen", streamed(fopen(path, "r")));
    CASE("fopen64", streamed(fopen64(path, "re")));
    CASE("freopen", streamed(freopen(path, "r", fopen("/dev/null", "r"))));
    CASE("freopen64", streamed(freopen64(path, "r", fopen("/dev/null", "r"))));
}

#define LOOK(what, call, mode, size) \
    do { \
        label = what, errno = UNUSUAL; \
        int result = call; \
        described(result, mode, size); \
    } while (0)

static void looks(const char *path) {
    struct stat out;
    struct stat64 out64;
    struct statx outx;
    LOOK("stat", stat(path, &out), out.st_mode, out.st_size);
    LOOK("stat64", stat64(path, &out64), out64.st_mode, out64.st_size);
    LOOK("lstat", lstat(path, &out), out.st_mode, out.st_size);
    LOOK("lstat64", lstat64(path, &out64), out64.st_mode, out64.st_size);
    LOOK("fstatat", fstatat(AT_FDCWD, path, &out, AT_SYMLINK_NOFOLLOW), out.st_mode, out.st_size);
    LOOK("fstatat64", fstatat64(AT_FDCWD, path, &out64, 0), out64.st_mode, out64.st_size);
    LOOK("statx", statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &outx), outx.stx_mode, outx.stx_size);
    LOOK("__xstat", __xstat(STAT_VERSION, path, &out), out.st_mode, out.st_size);
    LOOK("__xstat64", __xstat64(STAT_VERSION, path, &out64), out64.st_mode, out64.st_size);
    LOOK("__lxstat", __lxstat(STAT_VERSION, path, &out), out.st_mode, out.st_size);
    LOOK("__lxstat64", __lxstat64(STAT_VERSION, path, &out64), out64.st_mode, out64.st_size);
    LOOK("__fxstatat", __fxstatat(STAT_VERSION, AT_FDCWD, path, &out, AT_SYMLINK_NOFOLLOW), out.st_mode, out.st_size);
    LOOK("__fxstatat64", __fxstatat64(STAT_VERSION, AT_FDCWD, path, &out64, 0), out64.st_mode, out64.st_size);
    LOOK("access", access(path, R_OK), 0, 0);
    LOOK("euidaccess", euidaccess(path, F_OK), 0, 0);
    LOOK("eaccess", eaccess(path, R_OK), 0, 0);
    LOOK("faccessat", faccessat(AT_FDCWD, path, R_OK, AT_EACCESS), 0, 0);
}

static void links(const char *path) {
    char room[PATH_MAX];
    CASE("readlink", linked(readlink(path, room, sizeof room)));
    CASE("readlinkat", linked(readlinkat(AT_FDCWD, path, room, sizeof room)));
    CASE("__readlink_chk", linked(__readlink_chk(path, room, sizeof room, sizeof room)));
    CASE("__readlinkat_chk", linked(__readlinkat_chk(AT_FDCWD, path, room, sizeof room, sizeof room)));
    CASE("realpath", resolved(realpath(path, room)));
    char *path_of_heap;
    CASE("realpath NULL", resolved(path_of_heap = realpath(path, NULL)));
    free(path_of_heap);
    CASE("__realpath_chk", resolved(__realpath_chk(path, room, sizeof room)));
    CASE("canonicalize_file_name", resolved(path_of_heap = canonicalize_file_name(path)));
    free(path_of_heap);
}

static void writes(const char *path) {
    CASE("open w", opened(open(path, O_WRONLY)));
    CASE("open rw", opened(open(path, O_RDWR)));
    CASE("open truncate", opened(open(path, O_RDONLY | O_TRUNC)));
    CASE("open create", opened(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644)));
    CASE("openat create", opened(openat(AT_FDCWD, path, O_RDONLY | O_CREAT, 0644)));
    CASE("creat", opened(creat(path, 0644)));
    CASE("creat64", opened(creat64(path, 0644)));
    CASE("fopen w", streamed(fopen(path, "w")));
    CASE("fopen a", streamed(fopen(path, "ae")));
    CASE("fopen r+", streamed(fopen(path, "r+")));
    CASE("access w", described(access(path, R_OK | W_OK), 0, 0));
    CASE("euidaccess w", described(euidaccess(path, W_OK), 0, 0));
    CASE("faccessat w", described(faccessat(AT_FDCWD, path, W_OK, 0), 0, 0));
    CASE("access x", described(access(path, X_OK), 0, 0));
}

/* The calls that take a folder: `path` is relative to /etc. */
static void below(const char *path) {
    int folder = open("/etc", O_RDONLY | O_DIRECTORY);
    char room[PATH_MAX];
    struct stat out;
    struct statx outx;
    CASE("openat", opened(openat(folder, path, O_RDONLY)));
    CASE("__openat_2", opened(__openat_2(folder, path, O_RDONLY)));
    CASE("syscall", opened(syscall(SYS_openat, folder, path, O_RDONLY, 0)));
    LOOK("fstatat", fstatat(folder, path, &out, 0), 0, out.st_size);
    LOOK("__fxstatat", __fxstatat(STAT_VERSION, folder, path, &out, 0), 0, out.st_size);
    LOOK("statx", statx(folder, path, 0, STATX_ALL, &outx), 0, outx.stx_size);
    CASE("faccessat", described(faccessat(folder, path, W_OK, 0), 0, 0));
    CASE("readlinkat", linked(readlinkat(folder, path, room, sizeof room)));
}

/* A failed freopen has closed the old stream all the same. */
static void closed(const char *path) {
    int fd = open("/dev/null", O_RDONLY);
    FILE *file = fdopen(fd, "r");
    CASE("freopen", streamed(freopen(path, "r", file)));
    printf("descriptor=%d\n", fcntl(fd, F_GETFD));
}

/* A program that has shut itself in dies of a call that it did not expect. */
static void shut_in(const char *path) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readlinkat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    CASE("before", opened(open(path, O_RDONLY)));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) exit(77);
    int fd = open(path, O_RDONLY);
    char text[64] = "";
    printf("after=%s\n", fd < 0 || read(fd, text, 63) < 0 ? strerror(errno) : strstr(text, "from the pod") ? "pod" : "local");
}

/* As in guest.c. */
#define PER_CALL(what, calls, call) \
    do { \
        long count = getenv("BENCH") ? calls : calls / 1000 + 1; \
        struct timespec from, to; \
        clock_gettime(CLOCK_MONOTONIC, &from); \
        for (int i = 0; i < count; i++) call; \
        clock_gettime(CLOCK_MONOTONIC, &to); \
        printf("%s %.1f ns\n", what, ((to.tv_sec - from.tv_sec) * 1e9 + to.tv_nsec - from.tv_nsec) / count); \
    } while (0)

static void bench(void) {
    char room[PATH_MAX];
    struct stat out;
    PER_CALL("realpath of an empty path", 3000000, realpath("", room));
    PER_CALL("access of a missing path", 300000, access("/usr/none", F_OK));
    PER_CALL("access below /etc", 300000, access("/etc/none", F_OK));
    PER_CALL("stat of /usr", 300000, stat("/usr", &out));
    PER_CALL("stat of the pod's /etc/hosts", 10000, stat("/etc/hosts", &out));
}

int main(int count, char **word) {
    const char *op = count > 2 ? word[1] : "", *path = count > 2 ? word[2] : "";
    if (!strcmp(op, "opens")) opens(path);
    else if (!strcmp(op, "looks")) looks(path);
    else if (!strcmp(op, "links")) links(path);
    else if (!strcmp(op, "writes")) writes(path);
    else if (!strcmp(op, "below")) below(path);
    else if (!strcmp(op, "closed")) closed(path);
    else if (!strcmp(op, "shut_in")) shut_in(path);
    else if (!strcmp(op, "bench")) bench();
    else if (!strcmp(op, "bad")) {
        const char *volatile null = NULL, *volatile low = (const char *)8;
        char room[8];
        CASE("open", opened(open(null, O_RDONLY)));
        CASE("open", opened(open(low, O_RDONLY)));
        CASE("readlink", linked(readlink(low, room, sizeof room)));
    } else return 98;
    return 0;
}
