/* Calls each function that reads with each path, and prints one line for each pair: `call path: what was seen`.
 *
 * The lines must be equal in the pod and under mirror. So nothing is said of what a file system chooses by itself:
 * inode, device, change time, owner, and sizes of directories. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char said[1 << 16];
static size_t used;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(said + used, sizeof said - used, format, arguments);
    va_end(arguments);
    used = used + more < sizeof said ? used + more : sizeof said - 1;
}

static void say_text(const char *text) {
    for (; *text; text++) say(isprint((unsigned char)*text) ? "%c" : "\\%03o", (unsigned char)*text);
}

static void say_error(void) { say("%s ", strerrorname_np(errno)); }

static void tell(long result) {
    if (result < 0) say_error();
    else say("ok ");
}

/* Length and hash of what can be read. */
static void digest(int fd) {
    unsigned char buffer[8192];
    uint64_t hash = 0xcbf29ce484222325u;
    size_t length = 0;
    ssize_t got;
    if (fd < 0) return say_error();
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < got; i++, length++) hash = (hash ^ buffer[i]) * 0x100000001b3u;
    if (got < 0) say_error();
    say("%zu %016llx ", length, (unsigned long long)hash);
    close(fd);
}

static void describe(int result, const struct stat *about) {
    if (result) return say_error();
    say("%o %lld.%09ld ", about->st_mode, (long long)about->st_mtim.tv_sec, about->st_mtim.tv_nsec);
    if (!S_ISDIR(about->st_mode)) say("size %lld links %ld ", (long long)about->st_size, (long)about->st_nlink);
}

static void link_text(ssize_t length, char *room) {
    if (length < 0) return say_error();
    room[length] = '\0';
    say_text(room);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Lines of a listing, in an order that both places have. */
static char *listed[4096];
static int n_listed;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (n_listed < 4096 && vasprintf(&listed[n_listed], format, arguments) >= 0) n_listed++;
    va_end(arguments);
}

static void say_listed(void) {
    qsort(listed, n_listed, sizeof *listed, by_name);
    for (int i = 0; i < n_listed; i++) say_text(listed[i]), say(";"), free(listed[i]);
    n_listed = 0;
}

#define CALL(name) static void call_##name(const char *path)
#define OPENS(name, flags) CALL(name) { digest(open(path, flags)); }

OPENS(open, O_RDONLY)
OPENS(open_cloexec, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
OPENS(open_directory, O_RDONLY | O_DIRECTORY)
OPENS(open_nofollow, O_RDONLY | O_NOFOLLOW)
OPENS(open_noctty, O_RDONLY | O_NOCTTY | O_LARGEFILE)
OPENS(open_exclusive, O_RDONLY | O_CREAT | O_EXCL)
CALL(open64) { digest(open64(path, O_RDONLY)); }
CALL(openat) { digest(openat(AT_FDCWD, path, O_RDONLY)); }
CALL(openat_bad_folder) { digest(openat(999, path, O_RDONLY)); }
CALL(open_by_number) { digest(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0)); }

CALL(open_path) {
    struct stat about;
    int fd = open(path, O_PATH | O_NOFOLLOW);
    if (fd < 0) return say_error();
    describe(fstat(fd, &about), &about);
    close(fd);
}

/* The folder is opened, and the rest of the path taken from there. */
CALL(openat_below) {
    char folder[PATH_MAX], *name;
    snprintf(folder, sizeof folder, "%s", path);
    if (!(name = strrchr(folder, '/'))) return say("no folder");
    *name++ = '\0';
    int fd = open(*folder ? folder : "/", O_RDONLY | O_DIRECTORY);
    if (fd < 0) return say_error();
    digest(openat(fd, *name ? name : ".", O_RDONLY));
    struct stat about;
    describe(fstatat(fd, *name ? name : ".", &about, AT_SYMLINK_NOFOLLOW), &about);
    tell(faccessat(fd, *name ? name : ".", R_OK, 0));
    close(fd);
}

CALL(fopen) {
    FILE *file = fopen(path, "re");
    digest(file ? fileno(file) : -1);
}

CALL(freopen) {
    FILE *file = freopen(path, "r", fopen("/dev/null", "r"));
    digest(file ? fileno(file) : -1);
}

CALL(stat) {
    struct stat about;
    describe(stat(path, &about), &about);
}

CALL(lstat) {
    struct stat about;
    describe(lstat(path, &about), &about);
}

CALL(fstatat) {
    struct stat about;
    describe(fstatat(AT_FDCWD, path, &about, 0), &about);
    describe(fstatat(AT_FDCWD, path, &about, AT_SYMLINK_NOFOLLOW), &about);
    describe(fstatat(AT_FDCWD, path, &about, AT_EMPTY_PATH), &about);
}

CALL(fstatat_flags) {
    struct stat about;
    describe(fstatat(AT_FDCWD, path, &about, 1 << 30), &about);
}

CALL(fstat) {
    struct stat about, named;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return say_error();
    describe(fstat(fd, &about), &about);
    say("%s", stat(path, &named) == 0 && named.st_ino == about.st_ino && named.st_dev == about.st_dev ? "same" : "other");
    close(fd);
}

CALL(statx) {
    struct statx about;
    int flags[] = {0, AT_SYMLINK_NOFOLLOW};
    for (int i = 0; i < 2; i++) {
        if (statx(AT_FDCWD, path, flags[i], STATX_BASIC_STATS, &about)) say_error();
        else say("%o %lld ", about.stx_mode, (long long)about.stx_mtime.tv_sec);
    }
}

CALL(access_exists) { tell(access(path, F_OK)); }
CALL(access_read) { tell(access(path, R_OK)); }
CALL(access_execute) { tell(access(path, X_OK)); }
CALL(access_both) { tell(access(path, R_OK | X_OK)); }
CALL(access_bad) { tell(access(path, 64)); }
CALL(faccessat) { tell(faccessat(AT_FDCWD, path, R_OK, AT_EACCESS)); }
CALL(euidaccess) { tell(euidaccess(path, R_OK)); }

CALL(readlink) {
    char room[PATH_MAX];
    link_text(readlink(path, room, sizeof room - 1), room);
}

CALL(readlink_short) {
    char room[4];
    link_text(readlink(path, room, 3), room);
}

CALL(readlinkat) {
    char room[PATH_MAX];
    link_text(readlinkat(AT_FDCWD, path, room, sizeof room - 1), room);
}

CALL(realpath) {
    char *found = realpath(path, NULL);
    if (found) say_text(found);
    else say_error();
    free(found);
}

CALL(canonicalize) {
    char *found = canonicalize_file_name(path);
    if (found) say_text(found);
    else say_error();
    free(found);
}

CALL(opendir) {
    DIR *directory = opendir(path);
    if (!directory) return say_error();
    for (struct dirent *entry; (entry = readdir(directory));) note("%s %d", entry->d_name, entry->d_type);
    closedir(directory);
    say_listed();
}

CALL(rewinddir) {
    DIR *directory = opendir(path);
    int count = 0;
    if (!directory) return say_error();
    while (readdir(directory)) count++;
    rewinddir(directory);
    while (readdir(directory)) count++;
    say("%d", count);
    closedir(directory);
}

CALL(fdopendir) {
    int fd = open(path, O_RDONLY | O_DIRECTORY), count = 0;
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) return say_error();
    struct stat about;
    for (struct dirent *entry; (entry = readdir(directory)); count++)
        if (fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW)) note("%s %s", entry->d_name, strerrorname_np(errno));
        else if (strcmp(entry->d_name, "..")) note("%s %o", entry->d_name, about.st_mode);
    closedir(directory);
    say_listed();
}

CALL(scandir) {
    struct dirent **list;
    int count = scandir(path, &list, NULL, alphasort);
    if (count < 0) return say_error();
    for (int i = 0; i < count; i++) say_text(list[i]->d_name), say(";"), free(list[i]);
    free(list);
}

CALL(chdir) {
    char room[PATH_MAX];
    if (chdir(path)) return say_error();
    if (getcwd(room, sizeof room)) say_text(room);
    say(" ");
    digest(open(".", O_RDONLY | O_DIRECTORY));
    digest(open("plain.txt", O_RDONLY));
    digest(open("../plain.txt", O_RDONLY));
    struct stat about;
    describe(stat("sub", &about), &about);
}

CALL(fchdir) {
    char room[PATH_MAX];
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fchdir(fd)) return say_error();
    if (getcwd(room, sizeof room)) say_text(room);
    say(" ");
    digest(open("one.txt", O_RDONLY));
}

CALL(through_cwd) {
    if (chdir(path)) return say_error();
    digest(open("/proc/self/cwd/plain.txt", O_RDONLY));
    char room[PATH_MAX];
    link_text(readlink("/proc/self/cwd", room, sizeof room - 1), room);
}

CALL(through_descriptor) {
    char name[64], room[PATH_MAX];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return say_error();
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    link_text(readlink(name, room, sizeof room - 1), room);
    say(" ");
    digest(open(name, O_RDONLY | O_NONBLOCK));
    snprintf(name, sizeof name, "/proc/self/fd/%d/plain.txt", fd);
    digest(open(name, O_RDONLY));
    close(fd);
}

CALL(mmap) {
    struct stat about;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about)) return say_error();
    unsigned char *text = mmap(NULL, about.st_size ? about.st_size : 1, PROT_READ, MAP_SHARED, fd, 0), sum = 0;
    if (text == MAP_FAILED) return S_ISDIR(about.st_mode) ? say("no map") : say_error();
    for (off_t i = 0; i < about.st_size; i++) sum += text[i];
    say("%d", sum);
    close(fd);
}

CALL(pread) {
    char text[8] = "";
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return say_error();
    tell(pread(fd, text, 3, 2));
    say_text(text);
    close(fd);
}

CALL(lseek) {
    struct stat about;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about)) return say_error();
    if (S_ISDIR(about.st_mode)) return say("a folder");
    say("%lld ", (long long)lseek(fd, 0, SEEK_END));
    say("%lld", (long long)lseek(fd, -1, SEEK_SET));
    close(fd);
}

CALL(write_to_it) {
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return say_error();
    tell(write(fd, "x", 1));
    tell(ftruncate(fd, 0));
    close(fd);
}

CALL(sendfile) {
    int fd = open(path, O_RDONLY | O_NONBLOCK), null = open("/dev/null", O_WRONLY);
    if (fd < 0) return say_error();
    long sent = sendfile(null, fd, NULL, 1000);
    if (sent < 0) say_error();
    else say("%ld", sent);
    close(fd), close(null);
}

CALL(dup) {
    int fd = open(path, O_RDONLY | O_NONBLOCK), other = dup(fd);
    char byte = 0;
    if (fd < 0) return say_error();
    tell(read(fd, &byte, 1));
    digest(other);
    close(fd);
}

CALL(child) {
    int fd = open(path, O_RDONLY | O_NONBLOCK), ends[2], length;
    if (fd < 0 || pipe(ends)) return say_error();
    pid_t child = fork();
    if (!child) {
        digest(fd);
        if (write(ends[1], said, used) < 0) _exit(1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    length = read(ends[0], said, sizeof said - 1);
    used = length > 0 ? length : 0;
    close(ends[0]), close(ends[1]), close(fd);
}

static void shell(const char *script, const char *path) {
    setenv("WHAT", path, 1);
    char line[4096];
    FILE *output = popen(script, "r");
    while (output && fgets(line, sizeof line, output)) {
        line[strcspn(line, "\n")] = '\0';
        say_text(line);
        say(";");
    }
    if (output) say("%d", WEXITSTATUS(pclose(output)));
}

CALL(cat) { shell("cat \"$WHAT\" 2>&1 | cksum", path); }
CALL(redirect) { shell("{ cksum < \"$WHAT\"; } 2>/dev/null", path); }
CALL(shell_tests) { shell("for t in e f d L r x s; do [ -$t \"$WHAT\" ] && echo $t; done", path); }
CALL(ls) { shell("ls -a \"$WHAT\" 2>/dev/null | cksum", path); }
CALL(find) { shell("find \"$WHAT\" -printf '%y %m %f %l\\n' 2>/dev/null | sort | cksum", path); }
CALL(tar) { shell("tar c --mtime=@0 --owner=0 --group=0 --sort=name \"$WHAT\" 2>/dev/null | LC_ALL=C tar t 2>/dev/null | cksum", path); }

CALL(glob) {
    char pattern[PATH_MAX + 8];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/*", path);
    int result = glob(pattern, GLOB_MARK, NULL, &found);
    say("%d ", result);
    for (size_t i = 0; !result && i < found.gl_pathc; i++) say_text(found.gl_pathv[i]), say(";");
    if (!result) globfree(&found);
}

CALL(glob_plain) {
    glob_t found = {0};
    int result = glob(path, GLOB_NOESCAPE, NULL, &found);
    say("%d ", result);
    for (size_t i = 0; !result && i < found.gl_pathc; i++) say_text(found.gl_pathv[i]), say(";");
    if (!result) globfree(&found);
}

static int visit(const char *path, const struct stat *about, int kind, struct FTW *level) {
    note("%d %s %d %d %o", kind, path, level->base, level->level, kind == FTW_NS ? 0 : about->st_mode);
    return 0;
}

static int visit_shortly(const char *path, const struct stat *about, int kind) {
    note("%d %s %o", kind, path, kind == FTW_NS ? 0 : about->st_mode & S_IFMT);
    return 0;
}

CALL(nftw) {
    tell(nftw(path, visit, 8, FTW_PHYS));
    say_listed();
}

/* Where no link leads back: each place is visited once, by the path that happens to come first. */
CALL(ftw) {
    if (strstr(path, "..") || !(strstr(path, "/sub") || strstr(path, "/many") || strstr(path, ".txt"))) return say("not here");
    tell(ftw(path, visit_shortly, 8));
    say_listed();
}

CALL(getxattr) {
    char room[64];
    tell(getxattr(path, "user.none", room, sizeof room));
    tell(lgetxattr(path, "user.none", room, sizeof room));
}

CALL(pathconf) {
    errno = 0;
    long value = pathconf(path, _PC_NAME_MAX);
    if (value < 0) say_error();
    else say("%ld", value);
}

CALL(statfs) {
    struct statfs about;
    tell(statfs(path, &about));
    struct statvfs other;
    tell(statvfs(path, &other));
}

CALL(inotify) {
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int watch = inotify_add_watch(fd, path, IN_MODIFY | IN_CREATE);
    if (watch < 0) say_error();
    else say("ok ");
    close(fd);
}

#define ROW(name) {#name, call_##name}
static const struct {
    const char *name;
    void (*call)(const char *path);
} calls[] = {
    ROW(open), ROW(open_cloexec), ROW(open_directory), ROW(open_nofollow), ROW(open_noctty), ROW(open_exclusive),
    ROW(open64), ROW(openat), ROW(openat_bad_folder), ROW(open_by_number), ROW(open_path), ROW(openat_below),
    ROW(fopen), ROW(freopen), ROW(stat), ROW(lstat), ROW(fstatat), ROW(fstatat_flags), ROW(fstat), ROW(statx),
    ROW(access_exists), ROW(access_read), ROW(access_execute), ROW(access_both), ROW(access_bad), ROW(faccessat),
    ROW(euidaccess), ROW(readlink), ROW(readlink_short), ROW(readlinkat), ROW(realpath), ROW(canonicalize),
    ROW(opendir), ROW(rewinddir), ROW(fdopendir), ROW(scandir), ROW(chdir), ROW(fchdir), ROW(through_cwd),
    ROW(through_descriptor), ROW(mmap), ROW(pread), ROW(lseek), ROW(write_to_it), ROW(sendfile), ROW(dup), ROW(child),
    ROW(cat), ROW(redirect), ROW(shell_tests), ROW(ls), ROW(find), ROW(tar), ROW(glob), ROW(glob_plain), ROW(nftw),
    ROW(ftw), ROW(getxattr), ROW(pathconf), ROW(statfs), ROW(inotify),
};

static const char *const paths[] = {
    "/data", "/data/", "/data/.", "/data/tree", "/data/tree/plain.txt", "//data///tree/./plain.txt",
    "/data/tree/../tree/plain.txt", "/data/tree/plain.txt/", "/data/tree/plain.txt/.", "/data/tree/plain.txt/x",
    "/data/tree/data.json", "/data/tree/big.bin", "/data/tree/script.sh", "/data/tree/link.txt", "/data/tree/link.txt/",
    "/data/tree/absolute.txt", "/data/tree/broken", "/data/tree/broken/x", "/data/tree/loop", "/data/tree/loop/x",
    "/data/tree/folder", "/data/tree/folder/", "/data/tree/folder/one.txt", "/data/tree/sub", "/data/tree/sub/..",
    "/data/tree/sub/empty", "/data/tree/sub/empty/", "/data/tree/many", "/data/tree/many/100", "/data/tree/none",
    "/data/tree/none/", "/data/tree/none/x", "/data/odd", "/data/odd/a b", "/data/odd/new\nline", "/data/odd/\377\001",
    "/data/odd/-rf", "/data/odd/*", "/data/odd/out", "/data/odd/absolute", "/data/odd/root/data/tree/plain.txt",
    "/data/odd/up/data/tree/plain.txt", "/data/private", "/data/private/file", "/data/private/folder",
    "/data/private/folder/x", "/data/swap/key", "/data/swap/..data", "/data/swap/..data/key", "/app/config",
    "/app/config/settings.yaml", "/app/config/..data", "/app/config/..data/settings.yaml", "/app/secret",
    "/app/secret/password", "/app/none",
    "/data/"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
};

int main(void) {
    char start[PATH_MAX];
    if (!getcwd(start, sizeof start)) return 1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
            used = 0;
            said[0] = '\0';
            calls[i].call(paths[k]);
            if (chdir(start)) return 1;
            printf("%s ", calls[i].name);
            char seen[sizeof said];
            memcpy(seen, said, sizeof said);
            used = 0;
            say_text(paths[k]);
            printf("%.60s: %s\n", said, seen);
        }
    return 0;
}
