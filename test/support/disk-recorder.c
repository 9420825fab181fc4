/* What a process does to one file and to those beside it, recorded in order; and, when told, disks that fail.
 *
 * Loaded before the C library (LD_PRELOAD). DISK_FILE is the path of the file, DISK_RECORD that of the record. A record is
 * {u8 op, u8 file, u16 0, u32 length, u64 offset} and `length` bytes. Ops: 1 write, 2 truncate to offset, 3 sync, 4 unlink.
 * Files: 0 DISK_FILE, 1 DISK_FILE-wal, 2 DISK_FILE.notes, 3 the folder, 4 DISK_FILE-journal. What is written to DISK_FILE.faults says what is to
 * fail from then on: "write N" or "sync N", with the errno N; 0: nothing. Only files 0 and 1 do, and DISK_FILE-room*.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, UNLINK = 4 };
enum { MAIN = 0, LOG = 1, NOTES = 2, FOLDER = 3, JOURNAL = 4, FAULTS = 5, ROOM = 6, OTHER = -1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static int write_fault;
static int sync_fault;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int file_of_path(const char *path) {
  const char *file = getenv("DISK_FILE");
  if (file == NULL || path == NULL) return OTHER;
  size_t length = strlen(file);
  const char *slash = strrchr(file, '/');
  if (slash != NULL && strlen(path) == (size_t)(slash - file) && strncmp(path, file, slash - file) == 0) return FOLDER;
  if (strncmp(path, file, length) != 0) return OTHER;
  if (path[length] == '\0') return MAIN;
  if (strcmp(path + length, "-wal") == 0) return LOG;
  if (strcmp(path + length, "-journal") == 0) return JOURNAL;
  if (strcmp(path + length, ".notes") == 0) return NOTES;
  if (strcmp(path + length, ".faults") == 0) return FAULTS;
  if (strncmp(path + length, "-room", 5) == 0) return ROOM;
  return OTHER;
}

static int is_data(int file) { return file == MAIN || file == LOG || file == JOURNAL; }

static int file_of(int fd) {
  char link[64], path[PATH_MAX];
  if (getenv("DISK_FILE") == NULL) return OTHER;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return OTHER;
  path[length] = '\0';
  return file_of_path(path);
}

static void append(const void *data, size_t length) {
  __typeof__(&write) real = REAL(write);
  for (const char *at = data; length > 0;) {
    ssize_t done = real(record_fd, at, length);
    if (done <= 0) abort();
    at += done;
    length -= done;
  }
}

static void record(uint8_t op, int file, uint64_t offset, const void *data, size_t length) {
  int kept = errno;
  pthread_mutex_lock(&lock);
  const char *path = getenv("DISK_RECORD");
  if (record_fd < 0 && path != NULL) record_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (record_fd >= 0) {
    struct { uint8_t op, file; uint16_t none; uint32_t length; uint64_t offset; } head = {op, (uint8_t)file, 0, (uint32_t)length, offset};
    append(&head, sizeof head);
    append(data, length);
  }
  pthread_mutex_unlock(&lock);
  errno = kept;
}

static void set_fault(const char *data, size_t length) {
  char text[32] = {0};
  memcpy(text, data, length < sizeof text - 1 ? length : sizeof text - 1);
  if (strncmp(text, "write ", 6) == 0) write_fault = atoi(text + 6);
  if (strncmp(text, "sync ", 5) == 0) sync_fault = atoi(text + 5);
}

/* Whether this write is to fail; errno says how. */
static int fails(int file, int fault) {
  if ((file != MAIN && file != LOG && file != ROOM) || fault == 0) return 0;
  errno = fault;
  return 1;
}

static void written(int file, uint64_t offset, const void *data, ssize_t length) {
  if (length <= 0 || file == OTHER || file == FOLDER || file == ROOM) return;
  if (file == FAULTS) set_fault(data, length);
  else record(WRITE, file, offset, data, length);
}

ssize_t write(int fd, const void *data, size_t length) {
  int file = file_of(fd);
  if (fails(file, write_fault)) return -1;
  uint64_t offset = file == OTHER ? 0 : (uint64_t)lseek(fd, 0, SEEK_CUR);
  ssize_t done = REAL(write)(fd, data, length);
  written(file, offset, data, done);
  return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  int file = file_of(fd);
  if (fails(file, write_fault)) return -1;
  ssize_t done = REAL(pwrite64)(fd, data, length, offset);
  written(file, offset, data, done);
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
  int file = file_of(fd);
  if (file == OTHER) return REAL(writev)(fd, parts, count);
  ssize_t sum = 0;
  for (int i = 0; i < count; i++) {
    ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
    if (done < 0) return sum > 0 ? sum : done;
    sum += done;
  }
  return sum;
}

int ftruncate64(int fd, off64_t size) {
  int file = file_of(fd);
  int result = REAL(ftruncate64)(fd, size);
  if (result == 0 && is_data(file)) record(TRUNCATE, file, size, NULL, 0);
  return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int (*real)(int)) {
  int file = file_of(fd);
  if (fails(file, sync_fault)) return -1;
  int result = real(fd);
  if (result == 0 && (is_data(file) || file == FOLDER)) record(SYNC, file, 0, NULL, 0);
  return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int unlink(const char *path) {
  int result = REAL(unlink)(path);
  int file = file_of_path(path);
  if (result == 0 && is_data(file)) record(UNLINK, file, 0, NULL, 0);
  return result;
}
