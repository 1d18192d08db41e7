/* Preloaded under a test: while the file named by BAD_DISK exists, the disk is bad as its text says: `sync` fails every
   sync with EIO, as a dying disk does, and `full` fails every write to a file with ENOSPC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is(char first) {
    const char *path = getenv("BAD_DISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char found = 0;
    if (fd < 0) return 0;
    if (read(fd, &found, 1) != 1) found = 0;
    close(fd);
    return found == first;
}

static int full(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && is('f');
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int fdatasync(int fd) {
    if (is('s')) { errno = EIO; return -1; }
    return REAL("fdatasync", int (*)(int))(fd);
}

int fsync(int fd) {
    if (is('s')) { errno = EIO; return -1; }
    return REAL("fsync", int (*)(int))(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (full(fd)) { errno = ENOSPC; return -1; }
    return REAL("write", ssize_t (*)(int, const void *, size_t))(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    if (full(fd)) { errno = ENOSPC; return -1; }
    return REAL("pwrite", ssize_t (*)(int, const void *, size_t, off_t))(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    if (full(fd)) { errno = ENOSPC; return -1; }
    return REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(fd, bytes, count, offset);
}
