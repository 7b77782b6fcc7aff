/* Runs in a machine of QEMU in Firecracker's place: connections that come over one port of virtio-serial are made to
   ports of AF_VSOCK of the same machine (its module vsock_loopback).

   A frame is a connection's number and a size, 4 bytes each, and so many bytes. Size 0: it has ended. OPEN, followed by
   a port: connect. OPENED: it is. */

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 4096 };
static const uint32_t OPEN = 0xffffffff, OPENED = 0xfffffffe;
static int wire, connections[MOST];
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

static void put(int to, const void *data, long size) {
  for (const char *at = data; size > 0;) {
    long count = write(to, at, size);
    if (count < 0 && to != wire) return;
    if (count < 0) usleep(1000);
    else at += count, size -= count;
  }
}

static void get(void *data, long size) {
  for (char *at = data; size > 0;) {
    long count = read(wire, at, size);
    if (count <= 0) usleep(1000);
    else at += count, size -= count;
  }
}

static void say(uint32_t number, uint32_t size, const void *data) {
  uint32_t head[2] = {number, size};
  pthread_mutex_lock(&writing);
  put(wire, head, sizeof head);
  if (data) put(wire, data, size);
  pthread_mutex_unlock(&writing);
}

static void *carry(void *which) {
  long number = (long)which, size;
  char data[32768];
  while ((size = read(connections[number], data, sizeof data)) > 0) say(number, size, data);
  say(number, 0, 0);
  return 0;
}

static void connected(uint32_t number) {
  struct sockaddr_vm place = {.svm_family = AF_VSOCK, .svm_cid = 1};
  pthread_t thread;
  get(&place.svm_port, 4);
  connections[number] = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (connect(connections[number], (struct sockaddr *)&place, sizeof place)) {
    close(connections[number]);
    say(number, 0, 0);
    return;
  }
  say(number, OPENED, 0);
  pthread_create(&thread, 0, carry, (void *)(long)number);
  pthread_detach(thread);
}

int main(void) {
  static char data[1 << 20];
  signal(SIGPIPE, SIG_IGN);
  while ((wire = open("/dev/vport0p1", O_RDWR)) < 0) usleep(20000);
  for (;;) {
    uint32_t head[2];
    get(head, sizeof head);
    if (head[0] >= MOST || (head[1] > sizeof data && head[1] != OPEN)) return 1;
    if (head[1] == OPEN) connected(head[0]);
    else if (head[1] == 0) shutdown(connections[head[0]], SHUT_RDWR);
    else get(data, head[1]), put(connections[head[0]], data, head[1]);
  }
}
