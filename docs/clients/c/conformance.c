/* Runs one case of docs/clients/conformance: steps on stdin, events as JSON on stdout. */
#include "poses.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refused, has_clock;
static int64_t clock_ns;

static void print_text(poses_bytes text) {
  putchar('"');
  for (size_t i = 0; i < text.size; i++) {
    uint8_t c = text.data[i];
    if (c == '"' || c == '\\' || c < 0x20) printf("\\u%04x", c);
    else putchar(c);
  }
  putchar('"');
}

static void print_numbers(const double *numbers, size_t count) {
  for (size_t i = 0; i < count; i++) printf("%s%.17g", i ? "," : "[", numbers[i]);
  putchar(']');
}

static void print_people(const poses_event *event) {
  for (size_t i = 0; i < event->person_count; i++) {
    const poses_person *person = &event->people[i];
    printf("%s{\"id\":%" PRId64 ",\"score\":%.17g,\"box\":", i ? "," : "", person->id, person->score);
    print_numbers(person->box, 4);
    printf(",\"keypoints\":[");
    for (size_t j = 0; j < person->keypoint_count; j++) {
      if (j) putchar(',');
      print_numbers(person->keypoints[j], 3);
    }
    printf("]");
    if (person->predicted != NULL) printf(",\"predicted\":[");
    for (size_t j = 0; person->predicted != NULL && j < person->keypoint_count; j++) {
      if (j) putchar(',');
      print_numbers(person->predicted[j], 5);
    }
    printf(person->predicted != NULL ? "]}" : "}");
  }
}

static void print_poses(const poses_event *event) {
  printf(",\"seq\":%" PRId64 ",\"frame_seq\":%" PRId64, event->seq, event->frame_seq);
  printf(",\"pts_ns\":\"%" PRId64 "\",\"wall_ns\":\"%" PRId64 "\"", event->pts_ns, event->wall_ns);
  printf(",\"retained\":%s,\"joints\":[", event->retained ? "true" : "false");
  for (size_t i = 0; i < event->joint_count; i++) {
    if (i) putchar(',');
    print_text(event->joints[i]);
  }
  printf("],\"people\":[");
  print_people(event);
  putchar(']');
  if (!has_clock) return;
  for (size_t i = 0; i < event->person_count; i++) poses_move(event, &event->people[i], clock_ns);
  printf(",\"at\":[");
  print_people(event);
  putchar(']');
}

static void print_event(void *user, const poses_event *event) {
  static const char *const names[] = {"poses", "lost", "end", "malformed", "refused", "silent", "ask"};
  (void)user;
  printf("{\"event\":\"%s\"", names[event->kind]);
  if (event->kind <= POSES_END) {
    printf(",\"camera\":");
    print_text(event->camera);
  }
  if (event->kind == POSES_LOST) printf(",\"count\":%" PRId64, event->count);
  if (event->kind == POSES_MESSAGE) print_poses(event);
  puts("}");
  refused |= event->kind == POSES_REFUSED;
}

static uint8_t digit(char c) { return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10); }

/* "message HEX HEX": decodes in place. An empty part is "-". */
static void take(poses_client *client, char *line, int64_t now_ms) {
  poses_bytes parts[8];
  size_t count = 0;
  for (char *word = strtok(line, " "); word != NULL && count < 8; word = strtok(NULL, " ")) {
    size_t size = *word == '-' ? 0 : strlen(word) / 2;
    uint8_t *bytes = (uint8_t *)word;
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(digit(word[2 * i]) << 4 | digit(word[2 * i + 1]));
    parts[count].data = bytes;
    parts[count++].size = size;
  }
  poses_take(client, parts, count, now_ms);
}

int main(int argc, char **argv) {
  const char *camera = NULL, *prefix = "";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--camera") == 0) camera = argv[i + 1];
    if (strcmp(argv[i], "--prefix") == 0) prefix = argv[i + 1];
  }
  poses_client *client = poses_open(camera, prefix, print_event, NULL);
  size_t size = 16 << 20;
  char *line = malloc(size);
  int64_t now_ms = 0;
  while (client != NULL && line != NULL && !refused && fgets(line, (int)size, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "message ", 8) == 0) take(client, line + 8, now_ms);
    if (strncmp(line, "wait ", 5) == 0) now_ms += atoll(line + 5);
    if (strncmp(line, "clock ", 6) == 0) { clock_ns = atoll(line + 6); has_clock = 1; }
    poses_tick(client, now_ms); /* connections that are lost and made change nothing here */
  }
  free(line);
  poses_close(client);
  return 0;
}
