#include "poses.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_NAME = 255, MAX_TOPIC = 1024, UNSET = -2, INTERVALS = 3 };

/* -- msgpack ------------------------------------------------------------------------------------------------------ */

typedef enum { NIL, BOOLEAN, INTEGER, NUMBER, STRING, OTHER, ARRAY, MAP, INVALID } type;
typedef struct { const uint8_t *at, *end; } reader;
typedef struct { type type; int64_t integer; double number; poses_bytes text; size_t count; } value;

static uint64_t big_endian(reader *in, size_t size) {
  uint64_t found = 0;
  for (size_t i = 0; i < size; i++) found = found << 8 | *in->at++;
  return found;
}

static value fail(void) { value v = {INVALID, 0, 0, {NULL, 0}, 0}; return v; }

static value number(double x) { value v = fail(); v.type = NUMBER; v.number = x; return v; }

static value integer(int64_t x) { value v = number((double)x); v.type = INTEGER; v.integer = x; return v; }

static value take_bytes(reader *in, type kind, size_t size) {
  value v = fail();
  if ((size_t)(in->end - in->at) < size) return v;
  v.type = kind; v.text.data = in->at; v.text.size = size;
  in->at += size;
  return v;
}

static value collection(reader *in, type kind, size_t count) {
  value v = fail();
  if (count > (size_t)(in->end - in->at)) return v; /* each entry has at least one byte */
  v.type = kind; v.count = count;
  return v;
}

/* Reads one value; of an array or a map, only its head. */
static value read_value(reader *in) {
  static const uint8_t sizes[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
  if (in->at >= in->end) return fail();
  uint8_t head = *in->at++;
  if (head < 0x80) return integer(head);
  if (head < 0x90) return collection(in, MAP, head & 15);
  if (head < 0xa0) return collection(in, ARRAY, head & 15);
  if (head < 0xc0) return take_bytes(in, STRING, head & 31);
  if (head >= 0xe0) return integer((int64_t)head - 256);
  size_t size = sizes[head - 0xc0];
  if ((size_t)(in->end - in->at) < size) return fail();
  uint64_t bits = big_endian(in, size);
  value v = fail();
  switch (head) {
    case 0xc0: v.type = NIL; return v;
    case 0xc2: case 0xc3: v.type = BOOLEAN; return v;
    case 0xc4: case 0xc5: case 0xc6: return take_bytes(in, OTHER, (size_t)bits);
    case 0xc7: case 0xc8: case 0xc9: return take_bytes(in, OTHER, (size_t)bits + 1);
    case 0xca: { float x; uint32_t b = (uint32_t)bits; memcpy(&x, &b, 4); return number(x); }
    case 0xcb: { double x; memcpy(&x, &bits, 8); return number(x); }
    case 0xcc: case 0xcd: case 0xce: return integer((int64_t)bits);
    case 0xcf: return bits <= INT64_MAX ? integer((int64_t)bits) : number((double)bits);
    case 0xd0: return integer((int8_t)bits);
    case 0xd1: return integer((int16_t)bits);
    case 0xd2: return integer((int32_t)bits);
    case 0xd3: return integer((int64_t)bits);
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return take_bytes(in, OTHER, ((size_t)1 << (head - 0xd4)) + 1);
    case 0xd9: case 0xda: case 0xdb: return take_bytes(in, STRING, (size_t)bits);
    case 0xdc: case 0xdd: return collection(in, ARRAY, (size_t)bits);
    case 0xde: case 0xdf: return collection(in, MAP, (size_t)bits);
    default: return v;
  }
}

static int skip(reader *in, int depth) {
  value v = read_value(in);
  if (v.type == INVALID || depth > MAX_DEPTH) return 0;
  size_t entries = v.type == MAP ? 2 * v.count : v.type == ARRAY ? v.count : 0;
  for (size_t i = 0; i < entries; i++)
    if (!skip(in, depth + 1)) return 0;
  return 1;
}

static int equals(poses_bytes text, const char *expected) {
  return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

static int begins(poses_bytes text, const char *head) {
  return text.size >= strlen(head) && memcmp(text.data, head, strlen(head)) == 0;
}

/* The value of a key of the map at `map`, and a reader after it; INVALID if it has none. */
static value find(reader map, const char *key, reader *after) {
  value head = read_value(&map);
  for (size_t i = 0; head.type == MAP && i < head.count; i++) {
    value name = read_value(&map);
    if (name.type != STRING) return fail();
    if (equals(name.text, key)) {
      value found = read_value(&map);
      if (after != NULL) *after = map;
      return found;
    }
    if (!skip(&map, 0)) return fail();
  }
  return fail();
}

static int find_integer(reader map, const char *key, int64_t *found) {
  value v = find(map, key, NULL);
  *found = v.integer;
  return v.type == INTEGER;
}

static int read_numbers(reader *in, double *found, size_t count) {
  value head = read_value(in);
  if (head.type != ARRAY || head.count != count) return 0;
  for (size_t i = 0; i < count; i++) {
    value v = read_value(in);
    if (v.type != NUMBER && v.type != INTEGER) return 0;
    found[i] = v.number;
  }
  return 1;
}

/* -- the client --------------------------------------------------------------------------------------------------- */

typedef struct { char name[MAX_NAME + 1]; int64_t last; int ended; } camera_state;
typedef struct { uint8_t *message; size_t size; } skeleton_state; /* a copy of its message */

struct poses_client {
  char camera[MAX_NAME + 1], prefix[MAX_NAME + 1], session[MAX_NAME + 1];
  int all, settled, silent;
  int64_t received_ms, interval_ms, asked_ms, received; /* received: messages of the snapshot with this topic */
  char topic[MAX_TOPIC];
  size_t topic_size;
  size_t camera_count, skeleton_count;
  camera_state cameras[POSES_MAX_CAMERAS];
  skeleton_state skeletons[POSES_MAX_SKELETONS];
  poses_handler handler;
  void *user;
};

static void copy_name(char *to, poses_bytes from) {
  size_t size = from.size < MAX_NAME ? from.size : MAX_NAME;
  memcpy(to, from.data, size);
  to[size] = 0;
}

static poses_bytes bytes_of(const char *text) {
  poses_bytes found = {(const uint8_t *)text, strlen(text)};
  return found;
}

poses_client *poses_open(const char *camera, const char *prefix, poses_handler handler, void *user) {
  poses_client *client = calloc(1, sizeof *client);
  if (client == NULL) return NULL;
  client->all = camera == NULL;
  copy_name(client->camera, bytes_of(camera == NULL ? "" : camera));
  copy_name(client->prefix, bytes_of(prefix));
  client->handler = handler; client->user = user;
  return client;
}

static void forget_skeletons(poses_client *client) {
  for (size_t i = 0; i < client->skeleton_count; i++) free(client->skeletons[i].message);
  client->skeleton_count = 0;
}

void poses_close(poses_client *client) {
  if (client == NULL) return;
  forget_skeletons(client);
  free(client);
}

static void report(poses_client *client, poses_kind kind, poses_bytes camera, int64_t count) {
  poses_event event = {0};
  event.kind = kind; event.camera = camera; event.count = count;
  client->handler(client->user, &event);
}

static void report_malformed(poses_client *client) { report(client, POSES_MALFORMED, bytes_of(""), 0); }

/* The state of a camera, new if need be; NULL for one that was not selected. The oldest of too many is forgotten. */
static camera_state *get_camera(poses_client *client, poses_bytes name) {
  if (name.size > MAX_NAME || (!client->all && !equals(name, client->camera))) return NULL;
  camera_state *found = NULL;
  for (size_t i = 0; i < client->camera_count && found == NULL; i++)
    if (equals(name, client->cameras[i].name)) found = &client->cameras[i];
  if (found == NULL) {
    if (client->camera_count == POSES_MAX_CAMERAS)
      memmove(client->cameras, client->cameras + 1, --client->camera_count * sizeof *client->cameras);
    found = &client->cameras[client->camera_count++];
    copy_name(found->name, name);
    found->last = UNSET; found->ended = 0;
  }
  if (found->last == UNSET && client->settled) found->last = -1;
  return found;
}

static void count_lost(poses_client *client, camera_state *camera, int64_t seq) {
  if (camera->last == UNSET || seq <= camera->last) return;
  report(client, POSES_LOST, bytes_of(camera->name), seq - camera->last);
  camera->last = seq;
}

static void mark_ended(poses_client *client, camera_state *camera) {
  if (!camera->ended) report(client, POSES_END, bytes_of(camera->name), 0);
  camera->ended = 1;
}

static void check_session(poses_client *client, poses_bytes session) {
  if (equals(session, client->session)) return;
  copy_name(client->session, session);
  forget_skeletons(client);
  client->camera_count = 0;
  client->settled = 0;
  client->asked_ms = client->received_ms;
  client->received = 0;
}

/* A message of a snapshot has arrived. */
static void count_snapshot(poses_client *client, poses_bytes topic, int is_heartbeat) {
  size_t size = topic.size < MAX_TOPIC ? topic.size : MAX_TOPIC;
  if (size != client->topic_size || memcmp(topic.data, client->topic, size) != 0) client->received = 0;
  memcpy(client->topic, topic.data, size);
  client->topic_size = size;
  if (!is_heartbeat) client->received++;
}

/* True if as many messages of a snapshot arrived as its heartbeat says. */
static int is_whole(poses_client *client, reader heartbeat) {
  int64_t stated, received = client->received;
  client->received = 0;
  return !find_integer(heartbeat, "snapshot", &stated) || stated == received;
}

static void take_skeleton(poses_client *client, reader map) {
  skeleton_state added = {malloc((size_t)(map.end - map.at)), (size_t)(map.end - map.at)};
  if (added.message == NULL) return;
  memcpy(added.message, map.at, added.size);
  if (client->skeleton_count == POSES_MAX_SKELETONS) {
    free(client->skeletons[0].message);
    memmove(client->skeletons, client->skeletons + 1, --client->skeleton_count * sizeof *client->skeletons);
  }
  client->skeletons[client->skeleton_count++] = added;
}

/* The names of the joints of the newest skeleton of this name; to be freed. */
static poses_bytes *read_joints(poses_client *client, poses_bytes name, size_t *count) {
  *count = 0;
  for (size_t i = client->skeleton_count; i-- > 0;) {
    reader map = {client->skeletons[i].message, client->skeletons[i].message + client->skeletons[i].size}, in;
    value own = find(map, "name", NULL), joints = find(map, "joints", &in);
    if (own.type != STRING || own.text.size != name.size || memcmp(own.text.data, name.data, name.size) != 0) continue;
    poses_bytes *found = joints.type == ARRAY ? calloc(joints.count + 1, sizeof *found) : NULL;
    for (size_t j = 0; found != NULL && j < joints.count; j++) {
      value joint = read_value(&in);
      if (joint.type != STRING) break;
      found[(*count)++] = joint.text;
    }
    return found;
  }
  return NULL;
}

/* The forecasts of a person, one for each keypoint; none is no error. */
static int read_predicted(reader map, poses_person *person) {
  reader in;
  value predicted = find(map, "predicted", &in);
  if (predicted.type == INVALID) return 1;
  if (predicted.type != ARRAY || predicted.count != person->keypoint_count) return 0;
  person->predicted = calloc(predicted.count + 1, sizeof *person->predicted);
  if (person->predicted == NULL) return 0;
  for (size_t i = 0; i < predicted.count; i++)
    if (!read_numbers(&in, person->predicted[i], 5)) return 0;
  return 1;
}

static int read_person(reader map, poses_person *person) {
  reader in;
  value score = find(map, "score", NULL);
  if (find(map, "box", &in).type != ARRAY || !find_integer(map, "id", &person->id)) return 0;
  if (score.type != NUMBER && score.type != INTEGER) return 0;
  person->score = score.number;
  /* find() has read the heads of arrays: the numbers of the box follow. */
  for (size_t i = 0; i < 4; i++) {
    value v = read_value(&in);
    if (v.type != NUMBER && v.type != INTEGER) return 0;
    person->box[i] = v.number;
  }
  value keypoints = find(map, "keypoints", &in);
  if (keypoints.type != ARRAY) return 0;
  person->keypoints = calloc(keypoints.count + 1, sizeof *person->keypoints);
  if (person->keypoints == NULL) return 0;
  for (; person->keypoint_count < keypoints.count; person->keypoint_count++)
    if (!read_numbers(&in, person->keypoints[person->keypoint_count], 3)) return 0;
  return read_predicted(map, person);
}

static void free_people(poses_person *people, size_t count) {
  for (size_t i = 0; people != NULL && i < count; i++) {
    free(people[i].keypoints);
    free(people[i].predicted);
  }
  free(people);
}

/* The people of a message, to be freed; NULL if they are malformed. */
static poses_person *read_people(reader map, size_t *count) {
  reader in;
  value head = find(map, "people", &in);
  if (head.type != ARRAY) return NULL;
  poses_person *people = calloc(head.count + 1, sizeof *people);
  for (*count = 0; people != NULL && *count < head.count; ++*count) {
    reader person = in;
    if (!read_person(person, &people[*count]) || !skip(&in, 0)) {
      free_people(people, *count + 1);
      return NULL;
    }
  }
  return people;
}

/* Records the number of a message; NULL if it is of another camera or a duplicate. */
static camera_state *take_number(poses_client *client, poses_bytes name, int64_t seq) {
  camera_state *camera = get_camera(client, name);
  if (camera == NULL || (camera->last != UNSET && seq <= camera->last)) return NULL;
  count_lost(client, camera, seq - 1);
  camera->last = seq;
  return camera;
}

static void take_poses(poses_client *client, reader map, poses_bytes name, int64_t seq, int retained) {
  poses_event event = {0};
  event.kind = POSES_MESSAGE; event.camera = name; event.seq = seq; event.retained = retained;
  value skeleton = find(map, "skeleton", NULL);
  poses_person *people = read_people(map, &event.person_count);
  if (people == NULL || skeleton.type != STRING || !find_integer(map, "frame_seq", &event.frame_seq) ||
      !find_integer(map, "pts_ns", &event.pts_ns) || !find_integer(map, "wall_ns", &event.wall_ns)) {
    free_people(people, event.person_count);
    report_malformed(client);
    return;
  }
  event.has_forecast = find_integer(map, "predicted_for_ns", &event.predicted_for_ns) &&
                       find_integer(map, "predicted_until_ns", &event.predicted_until_ns);
  camera_state *camera = take_number(client, name, seq);
  if (camera != NULL) {
    poses_bytes *joints = read_joints(client, skeleton.text, &event.joint_count);
    camera->ended = 0;
    event.people = people; event.joints = joints;
    client->handler(client->user, &event);
    free(joints);
  }
  free_people(people, event.person_count);
}

void poses_move(const poses_event *event, poses_person *person, int64_t now_ns) {
  if (!event->has_forecast || person->predicted == NULL || person->keypoint_count == 0) return;
  if (now_ns < event->wall_ns) now_ns = event->wall_ns;
  if (now_ns > event->predicted_until_ns) now_ns = event->predicted_until_ns;
  double after_s = (double)(now_ns - event->predicted_for_ns) / 1e9, count = (double)person->keypoint_count;
  for (size_t axis = 0; axis < 2; axis++) {
    double sum = 0;
    for (size_t i = 0; i < person->keypoint_count; i++) {
      double moved = person->predicted[i][axis] + after_s * person->predicted[i][2 + axis];
      sum += moved - person->keypoints[i][axis];
      person->keypoints[i][axis] = moved;
    }
    person->box[axis] += sum / count;
    person->box[2 + axis] += sum / count;
  }
}

static int is_in(reader list, size_t count, poses_bytes text) {
  for (size_t i = 0; i < count; i++) {
    value v = read_value(&list);
    if (v.type == STRING && v.text.size == text.size && memcmp(v.text.data, text.data, text.size) == 0) return 1;
    if (v.type != STRING) return 0;
  }
  return 0;
}

static void take_heartbeat(poses_client *client, reader map, int retained) {
  reader topics, ends = map;
  value numbers = find(map, "topics", &topics), ended = find(map, "ended", &ends);
  char head[MAX_NAME + 8];
  strcpy(head, client->prefix);
  strcat(head, "poses/");
  if (numbers.type != MAP || !find_integer(map, "interval_ms", &client->interval_ms)) return report_malformed(client);
  int settles = retained && is_whole(client, map);
  for (size_t i = 0; i < numbers.count; i++) {
    value topic = read_value(&topics), seq = read_value(&topics);
    if (topic.type != STRING || seq.type != INTEGER) return report_malformed(client);
    if (!begins(topic.text, head)) continue;
    poses_bytes name = {topic.text.data + strlen(head), topic.text.size - strlen(head)};
    camera_state *camera = get_camera(client, name);
    if (camera == NULL) continue;
    if (settles && camera->last == UNSET) camera->last = seq.integer;
    count_lost(client, camera, seq.integer);
    if (ended.type == ARRAY && camera->last == seq.integer && is_in(ends, ended.count, topic.text))
      mark_ended(client, camera);
  }
  client->settled |= settles; /* after the loop, which sets the numbers that the snapshot knows */
}

void poses_take(poses_client *client, const poses_bytes *parts, size_t count, int64_t now_ms) {
  client->received_ms = now_ms;
  client->silent = 0;
  if (count != 2) return report_malformed(client);
  reader map = {parts[1].data, parts[1].data + parts[1].size}, whole = map, in;
  if (!skip(&whole, 0) || whole.at != whole.end || find(map, "version", &in).type != ARRAY)
    return report_malformed(client);
  value major = read_value(&in), kind = find(map, "kind", NULL), session = find(map, "session", NULL);
  if (major.type != INTEGER || kind.type != STRING) return report_malformed(client);
  if (major.integer != 1) return report(client, POSES_REFUSED, bytes_of(""), major.integer);
  if (session.type != STRING || session.text.size > MAX_NAME) return report_malformed(client);
  check_session(client, session.text);

  char snapshot[MAX_NAME + 16];
  strcpy(snapshot, client->prefix);
  strcat(snapshot, "snapshot/");
  int retained = begins(parts[0], snapshot);
  if (retained) count_snapshot(client, parts[0], equals(kind.text, "heartbeat"));
  if (equals(kind.text, "skeleton")) return take_skeleton(client, map);
  if (equals(kind.text, "heartbeat")) return take_heartbeat(client, map, retained);
  int is_end = equals(kind.text, "end");
  if (!is_end && !equals(kind.text, "poses")) return;
  value camera = find(map, "camera", NULL);
  int64_t seq;
  if (camera.type != STRING || !find_integer(map, "seq", &seq) || seq < 0) return report_malformed(client);
  if (!is_end) return take_poses(client, map, camera.text, seq, retained);
  camera_state *found = get_camera(client, camera.text);
  /* The snapshot is still to come, with the last poses before this end. */
  if (found != NULL && found->last == UNSET && !retained) return;
  found = take_number(client, camera.text, seq);
  if (found != NULL) mark_ended(client, found);
}

void poses_tick(poses_client *client, int64_t now_ms) {
  int64_t limit_ms = INTERVALS * client->interval_ms;
  if (limit_ms <= 0 || client->silent) return;
  if (now_ms - client->received_ms > limit_ms) {
    client->silent = 1;
    report(client, POSES_SILENT, bytes_of(""), 0);
  } else if (!client->settled && now_ms - client->asked_ms >= limit_ms) {
    client->asked_ms = now_ms;
    report(client, POSES_ASK, bytes_of(""), 0);
  }
}
