/* Prints the first joint of each person that posestream publishes: cc subscribe.c poses.c -lzmq -o subscribe
   ./subscribe [ADDRESS [CAMERA]] */
#include "poses.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

enum { MAX_PARTS = 8, PAUSE_MS = 500, DEAF_MS = 10000 };

typedef struct { int refused, asks; } state; /* what the events say */

static int64_t now_ns(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ms(void) { return now_ns() / 1000000; }

static void print_event(void *user, const poses_event *event) {
  int length = (int)event->camera.size;
  const char *camera = (const char *)event->camera.data;
  switch (event->kind) {
    case POSES_LOST: fprintf(stderr, "%.*s: %" PRId64 " messages were lost\n", length, camera, event->count); break;
    case POSES_END: printf("%.*s: the end\n", length, camera); break;
    case POSES_SILENT: fputs("the publisher is silent\n", stderr); break;
    case POSES_MALFORMED: fputs("a message that is not of protocol 1 was dropped\n", stderr); break;
    case POSES_REFUSED:
      fprintf(stderr, "the publisher uses protocol %" PRId64 ".x and this client 1.x\n", event->count);
      ((state *)user)->refused = 1;
      break;
    case POSES_ASK: ((state *)user)->asks = 1; break;
    case POSES_MESSAGE:
      printf("%.*s %" PRId64 ": %zu people", length, camera, event->frame_seq, event->person_count);
      for (size_t i = 0; i < event->person_count && event->people[i].keypoint_count > 0; i++) {
        poses_move(event, &event->people[i], now_ns());
        const double *first = event->people[i].keypoints[0];
        poses_bytes unknown = {(const uint8_t *)"joint 0", 7}, name = event->joint_count ? event->joints[0] : unknown;
        printf("; #%" PRId64 " %.*s at (%.0f, %.0f) px", event->people[i].id, (int)name.size, (const char *)name.data,
               first[0], first[1]);
      }
      putchar('\n');
  }
  fflush(stdout);
}

/* Asks for a snapshot, in place of one that was asked for before. */
static void ask(void *socket, const char *camera, int is_first) {
  static char snapshot[400];
  if (!is_first) zmq_setsockopt(socket, ZMQ_UNSUBSCRIBE, snapshot, strlen(snapshot));
  snprintf(snapshot, sizeof snapshot, "snapshot/%08x%08x/poses/%s", (unsigned)rand(), (unsigned)now_ms(),
           camera ? camera : "");
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, snapshot, strlen(snapshot));
}

static void *open_socket(void *context, const char *address, const char *camera) {
  int linger = 0;
  int64_t limit = 4 << 20;
  char wanted[300];
  void *socket = zmq_socket(context, ZMQ_SUB);
  snprintf(wanted, sizeof wanted, "poses/%s", camera ? camera : "");
  zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
  zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit);
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "heartbeat", 9);
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "skeleton/", 9);
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, wanted, strlen(wanted));
  ask(socket, camera, 1); /* last: then no message falls in between */
  if (zmq_connect(socket, address) == 0) return socket;
  fprintf(stderr, "%s: %s\n", address, zmq_strerror(zmq_errno()));
  exit(1);
}

/* Gives one message to the client. Of too many parts, the first ones: it is malformed anyway. */
static void take_message(void *socket, poses_client *client) {
  zmq_msg_t messages[MAX_PARTS], more;
  poses_bytes parts[MAX_PARTS];
  size_t count = 0;
  int has_more = 1;
  while (has_more) {
    zmq_msg_t *message = count < MAX_PARTS ? &messages[count] : &more;
    zmq_msg_init(message);
    if (zmq_msg_recv(message, socket, 0) < 0) return;
    has_more = zmq_msg_more(message);
    if (count == MAX_PARTS) { zmq_msg_close(message); continue; }
    parts[count].data = zmq_msg_data(message);
    parts[count++].size = zmq_msg_size(message);
  }
  poses_take(client, parts, count, now_ms());
  for (size_t i = 0; i < count; i++) zmq_msg_close(&messages[i]);
}

int main(int argc, char **argv) {
  const char *address = argc > 1 ? argv[1] : "tcp://127.0.0.1:5570", *camera = argc > 2 ? argv[2] : NULL;
  state seen = {0, 0};
  srand((unsigned)now_ms());
  poses_client *client = poses_open(camera, "", print_event, &seen);
  void *context = zmq_ctx_new(), *socket = open_socket(context, address, camera);
  int64_t heard_ms = now_ms();
  while (client != NULL && !seen.refused) {
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    if (zmq_poll(&item, 1, PAUSE_MS) > 0) {
      take_message(socket, client);
      heard_ms = now_ms();
    }
    poses_tick(client, now_ms());
    if (seen.asks) ask(socket, camera, 0);
    seen.asks = 0;
    if (now_ms() - heard_ms > DEAF_MS) { /* ZeroMQ may have given up: see "The socket" on the page */
      zmq_close(socket);
      socket = open_socket(context, address, camera);
      heard_ms = now_ms();
    }
  }
  poses_close(client);
  zmq_close(socket);
  zmq_ctx_term(context);
  return seen.refused;
}
