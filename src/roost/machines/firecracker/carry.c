/* A stream into a machine that can be put to sleep, for x86-64 Linux, without a library.

   carry PORT FD PROGRAM ARGUMENT...

   runs PROGRAM (a path) with one end of a socket pair as descriptor FD. What goes in and out of the other end is carried by
   whoever connects to PORT, a port of AF_VSOCK or, when it begins with a slash, the path of a Unix socket. A connection
   does not survive the sleep of a machine, the socket pair does: so the next one takes over from the one before, and
   between the two nothing is under way.

   Who connects says how many bytes it has sent on the connection before (8 bytes, 0 when there is none), and sends no
   more on it. When all these have arrived where they belong, it is told how many were sent to it (8 bytes), and the
   connection before is closed. The new one is used after a byte has come on it. Numbers are little-endian.

   Made by: gcc -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables
   -fcf-protection=none -fno-pie -no-pie -Wl,-z,noseparate-code,-z,max-page-size=4096,--build-id=none -s -o carry carry.c */

typedef unsigned long u64;
enum { READ = 0, WRITE = 1, CLOSE = 3, POLL = 7, DUP2 = 33, SOCKET = 41, ACCEPT = 43, SENDTO = 44, RECVFROM = 45 };
enum { BIND = 49, LISTEN = 50, SOCKETPAIR = 53, FORK = 57, EXECVE = 59, EXIT = 60, CLOSE_RANGE = 436 };
enum { IN = 1, OUT = 4, GONE = 8 | 16, AGAIN = -11, DONTWAIT = 0x40, NOSIGNAL = 0x4000, SIZE = 65536 };

static long call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define CALL3(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static void leave(int code) {
  for (;;) CALL3(EXIT, code, 0, 0);
}

struct way {
  u64 count; /* bytes of the connection that is used now */
  long at, end;
  char data[SIZE];
};
static struct way up, down;

/* 0 when nothing could be done just now, or all is well; 1 when the other side is gone. */
static int fill(struct way *way, int from) {
  long size = call(RECVFROM, from, (long)way->data, SIZE, DONTWAIT, 0, 0);
  if (size > 0) way->end = size;
  return size <= 0 && size != AGAIN;
}

static int flush(struct way *way, int to) {
  long size = call(SENDTO, to, (long)(way->data + way->at), way->end - way->at, DONTWAIT | NOSIGNAL, 0, 0);
  if (size > 0) way->at += size;
  if (way->at == way->end) way->at = way->end = 0;
  return size < 0 && size != AGAIN;
}

static int get(int from, void *place, long size) {
  for (char *at = place; size;) {
    long count = CALL3(READ, from, at, size);
    if (count <= 0) return 0;
    at += count, size -= count;
  }
  return 1;
}

static void shut(int *fd) {
  CALL3(CLOSE, *fd, 0, 0);
  *fd = -1;
}

static void carry(int ours, int door) {
  struct { int fd; short events, happened; } polled[3];
  int now = -1, next = -1;
  u64 wanted = 0;
  char go;
  for (;;) {
    if (next < 0 && (now < 0 || polled[0].happened)) {
      next = CALL3(ACCEPT, door, 0, 0);
      if (next < 0) leave(2);
      if (!get(next, &wanted, 8)) shut(&next);
    }
    if (next >= 0 && (now < 0 || (!up.end && !down.end && down.count == wanted))) {
      if (now >= 0) shut(&now);
      call(SENDTO, next, (long)&up.count, 8, NOSIGNAL, 0, 0);
      up.count = down.count = 0;
      if (get(next, &go, 1)) now = next, next = -1;
      else shut(&next);
    }
    if (now < 0) continue;
    polled[0].fd = door, polled[0].events = next < 0 ? IN : 0;
    polled[1].fd = ours, polled[1].events = (next < 0 && !up.end ? IN : 0) | (down.end ? OUT : 0);
    polled[2].fd = now, polled[2].events = (up.end ? OUT : 0) | (down.end ? 0 : IN);
    CALL3(POLL, polled, 3, -1);
    if (polled[1].happened & OUT && flush(&down, ours)) leave(0);
    if (polled[1].happened & (IN | GONE) && !up.end && next < 0 && fill(&up, ours)) leave(0);
    if (polled[1].happened & GONE && next >= 0) leave(0);
    int gone = 0;
    if (polled[2].happened & OUT) {
      long before = up.end - up.at;
      gone = flush(&up, now);
      up.count += before - (up.end - up.at);
    }
    if (polled[2].happened & (IN | GONE) && !down.end) {
      gone |= fill(&down, now);
      down.count += down.end;
    }
    if (gone && (up.count || down.count)) leave(1);
    if (gone) shut(&now); /* one that was never used: a machine that woke up has lost it */
  }
}

static int begin(const char *port) {
  static union {
    struct { unsigned short family, none; unsigned port, number, zero; } vsock;
    struct { unsigned short family; char path[108]; } local;
  } place;
  long size = 16;
  if (*port == '/') {
    place.local.family = 1;
    for (size = 2; *port && size < 109; size++) place.local.path[size - 2] = *port++;
    size++;
  } else {
    place.vsock.family = 40, place.vsock.number = -1U;
    for (; *port; port++) place.vsock.port = place.vsock.port * 10 + (*port - '0');
  }
  int door = CALL3(SOCKET, place.vsock.family, 1, 0);
  if (door < 0 || CALL3(BIND, door, &place, size) < 0 || CALL3(LISTEN, door, 4, 0) < 0) leave(71);
  return door;
}

__attribute__((used)) static void run(long *stack) {
  char **words = (char **)(stack + 1);
  if (*stack < 4) leave(64);
  int ends[2], fd = 0, door = begin(words[1]);
  for (char *digit = words[2]; *digit; digit++) fd = fd * 10 + (*digit - '0');
  if (call(SOCKETPAIR, 1, 1, 0, (long)ends, 0, 0) < 0) leave(71);
  long child = CALL3(FORK, 0, 0, 0);
  if (child < 0) leave(71);
  if (!child) {
    int low = ends[0] < door ? ends[0] : door, high = ends[0] < door ? door : ends[0];
    if (low > 0) CALL3(CLOSE_RANGE, 0, low - 1, 0);
    if (high > low + 1) CALL3(CLOSE_RANGE, low + 1, high - 1, 0);
    CALL3(CLOSE_RANGE, high + 1, ~0U, 0);
    carry(ends[0], door);
  }
  CALL3(CLOSE, door, 0, 0);
  CALL3(CLOSE, ends[0], 0, 0);
  if (ends[1] != fd) {
    CALL3(DUP2, ends[1], fd, 0);
    CALL3(CLOSE, ends[1], 0, 0);
  }
  CALL3(EXECVE, words[3], words + 3, words + *stack + 1);
  leave(127);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
