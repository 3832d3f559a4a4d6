/* Receives keypoints from posestream, by docs/reference/protocol.md: from the bytes of messages to events, without
   sockets. C99, no libraries. */
#ifndef POSES_H
#define POSES_H

#include <stddef.h>
#include <stdint.h>

#define POSES_MAX_CAMERAS 1024
#define POSES_MAX_SKELETONS 64

typedef struct { const uint8_t *data; size_t size; } poses_bytes;      /* text is UTF-8, without a 0 at its end */
/* A keypoint is x px, y px, score. predicted is NULL, or for each keypoint x px, y px, their speeds px/s and the spread px
   at the event's predicted_for_ns. */
typedef struct {
  int64_t id;
  double box[4], score;
  size_t keypoint_count;
  double (*keypoints)[3], (*predicted)[5];
} poses_person;

/* POSES_ASK: no whole snapshot has arrived; subscribe to one with a new token. */
typedef enum {
  POSES_MESSAGE, POSES_LOST, POSES_END, POSES_MALFORMED, POSES_REFUSED, POSES_SILENT, POSES_ASK
} poses_kind;

/* An event. Its pointers are valid until the handler returns. */
typedef struct {
  poses_kind kind;
  poses_bytes camera;           /* POSES_MESSAGE, POSES_LOST, POSES_END */
  int64_t count;                /* POSES_LOST: how many; POSES_REFUSED: the publisher's major version */
  int64_t seq, frame_seq, pts_ns, wall_ns;
  int has_forecast;             /* the next two are set */
  int64_t predicted_for_ns, predicted_until_ns;
  int retained;                 /* of a snapshot, so it may be old */
  size_t joint_count;           /* 0 if the names of the joints are unknown */
  const poses_bytes *joints;
  size_t person_count;
  poses_person *people;
} poses_event;

typedef void (*poses_handler)(void *user, const poses_event *event);
typedef struct poses_client poses_client;

/* camera NULL: all cameras. prefix "": none. NULL if memory is short. */
poses_client *poses_open(const char *camera, const char *prefix, poses_handler handler, void *user);
void poses_close(poses_client *client);

/* Take the parts of one message, which arrived at now_ms by any clock that never goes back; calls the handler. Stop after
   POSES_REFUSED. */
void poses_take(poses_client *client, const poses_bytes *parts, size_t count, int64_t now_ms);

/* Move a person of an event to where it is at now_ns, ns since 1970 UTC: its box and keypoints follow the forecast, which
   is extrapolated to predicted_until_ns and not beyond. Without a forecast nothing changes. */
void poses_move(const poses_event *event, poses_person *person, int64_t now_ns);

/* Call this at least once a second; it reports a silent publisher, and asks for a snapshot again. */
void poses_tick(poses_client *client, int64_t now_ms);

#endif
