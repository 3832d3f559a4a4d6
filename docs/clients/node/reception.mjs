// The messages of posestream as events, without sockets, by the protocol in docs/reference/protocol.md.

import { decode } from "@msgpack/msgpack"

const MAJOR = 1
const INTERVALS = 3
const MAX_CAMERAS = 1024
const MAX_SKELETONS = 64

/** Turns messages into events: poses, lost, end, malformed, silent, ask. Throws for another major version. */
export class Reception {
  constructor({ camera, prefix = "" } = {}) {
    this.camera = camera
    this.prefix = prefix
    this.skeletons = new Map()
    this.cameras = new Map()
    this.settled = false
    this.session = undefined
    this.receivedMs = undefined
    this.intervalMs = 0
    this.silent = false
    this.askedMs = 0
    this.snapshot = { topic: undefined, received: 0 }
  }

  /** Takes the parts of one message, which arrived at `nowMs`; returns a list of events. */
  take(parts, nowMs) {
    this.receivedMs = nowMs
    this.silent = false
    const message = read(parts)
    if (message === undefined) return [{ event: "malformed" }]
    if (Number(message.version[0]) !== MAJOR) {
      throw new Error(`the publisher uses protocol ${message.version.join(".")} and this client ${MAJOR}.x`)
    }
    this.#checkSession(message.session)
    const topic = Buffer.from(parts[0]).toString()
    const retained = topic.startsWith(`${this.prefix}snapshot/`)
    if (retained) this.#count(topic, message.kind)
    switch (message.kind) {
      case "skeleton":
        remember(this.skeletons, message.name, message, MAX_SKELETONS)
        return []
      case "heartbeat":
        return this.#takeHeartbeat(message, retained)
      case "poses":
      case "end":
        return this.#takeNumbered(message, retained)
      default:
        return []
    }
  }

  /**
   * To be called at least once a second; reports a silent publisher, once, and asks for a snapshot again where none has
   * arrived whole: at an `ask`, subscribe to a snapshot with a new token.
   */
  tick(nowMs) {
    if (this.silent || !this.intervalMs) return []
    if (nowMs - this.receivedMs > INTERVALS * this.intervalMs) {
      this.silent = true
      return [{ event: "silent" }]
    }
    if (this.settled || nowMs - this.askedMs < INTERVALS * this.intervalMs) return []
    this.askedMs = nowMs
    return [{ event: "ask" }]
  }

  /** The names of the joints of a poses message, in the order of its keypoints; undefined before its skeleton arrives. */
  joints(message) {
    return this.skeletons.get(message.skeleton)?.joints
  }

  #checkSession(session) {
    if (session === this.session) return
    this.session = session
    this.cameras.clear()
    this.skeletons.clear()
    this.settled = false
    this.askedMs = this.receivedMs
    this.snapshot = { topic: undefined, received: 0 }
  }

  #count(topic, kind) {
    if (topic !== this.snapshot.topic) this.snapshot = { topic, received: 0 }
    if (kind !== "heartbeat") this.snapshot.received += 1
  }

  /** True if as many messages of the snapshot arrived as its heartbeat says. */
  #isWhole(heartbeat) {
    const { received } = this.snapshot
    this.snapshot.received = 0
    return heartbeat.snapshot === undefined || Number(heartbeat.snapshot) === received
  }

  /** The state of a camera; undefined for one that was not selected. */
  #find(name) {
    if (this.camera !== undefined && name !== this.camera) return undefined
    const found = this.cameras.get(name) ?? { name, last: undefined, ended: false }
    if (found.last === undefined && this.settled) found.last = -1
    remember(this.cameras, name, found, MAX_CAMERAS)
    return found
  }

  #takeNumbered(message, retained) {
    const camera = this.#find(message.camera)
    const seq = Number(message.seq)
    if (camera === undefined || (camera.last !== undefined && seq <= camera.last)) return []
    // The snapshot is still to come, with the last poses before this end.
    if (camera.last === undefined && message.kind === "end" && !retained) return []
    const events = countLost(camera, seq - 1)
    camera.last = seq
    if (message.kind === "end") return [...events, ...markEnded(camera)]
    camera.ended = false
    return [...events, { event: "poses", message, retained, joints: this.joints(message) }]
  }

  #takeHeartbeat(message, retained) {
    this.intervalMs = Number(message.interval_ms)
    const settles = retained && this.#isWhole(message)
    const head = `${this.prefix}poses/`
    const ended = new Set(message.ended ?? [])
    const events = []
    for (const [topic, number] of Object.entries(message.topics)) {
      const camera = topic.startsWith(head) ? this.#find(topic.slice(head.length)) : undefined
      if (camera === undefined) continue
      const seq = Number(number)
      if (settles && camera.last === undefined) camera.last = seq
      events.push(...countLost(camera, seq))
      if (ended.has(topic) && camera.last === seq) events.push(...markEnded(camera))
    }
    this.settled ||= settles
    return events
  }
}

/**
 * The people of a poses message where they are at `nowNs` (a BigInt, ns since 1970 UTC): boxes and keypoints follow the
 * forecasts, which are extrapolated to `predicted_until_ns` and not beyond. Without forecasts they are unchanged.
 */
export function peopleAt(message, nowNs) {
  if (message.predicted_for_ns === undefined || message.predicted_until_ns === undefined) return message.people
  const [first, predicted, last] = [message.wall_ns, message.predicted_for_ns, message.predicted_until_ns].map(BigInt)
  const moment = nowNs < first ? first : nowNs > last ? last : nowNs
  const afterS = Number(moment - predicted) / 1e9
  return message.people.map((person) => (person.predicted?.length ? move(person, afterS) : person))
}

function move(person, afterS) {
  const keypoints = person.keypoints.map(([, , score], joint) => {
    const [x, y, right, down] = person.predicted[joint]
    return [x + afterS * right, y + afterS * down, score]
  })
  const mean = (axis) => keypoints.reduce((sum, point, joint) => sum + point[axis] - person.keypoints[joint][axis], 0) / keypoints.length
  const [right, down] = [mean(0), mean(1)]
  const [x1, y1, x2, y2] = person.box
  return { ...person, keypoints, box: [x1 + right, y1 + down, x2 + right, y2 + down] }
}

function read(parts) {
  let message
  try {
    // Nanoseconds do not fit the 53 bits of a number; small integers are converted to numbers where they are used.
    message = parts.length === 2 ? decode(parts[1], { useBigInt64: true }) : undefined
  } catch {
    return undefined
  }
  if (typeof message !== "object" || message === null || !Array.isArray(message.version)) return undefined
  return (message.people ?? []).every(hasWholeForecast) ? message : undefined
}

/** True if a person has a forecast for each keypoint, or none at all. */
function hasWholeForecast({ keypoints, predicted }) {
  return predicted === undefined || predicted.length === keypoints.length
}

function countLost(camera, seq) {
  if (camera.last === undefined || seq <= camera.last) return []
  const count = seq - camera.last
  camera.last = seq
  return [{ event: "lost", camera: camera.name, count }]
}

function markEnded(camera) {
  if (camera.ended) return []
  camera.ended = true
  return [{ event: "end", camera: camera.name, seq: camera.last }]
}

/** Stores the newest entry; forgets the oldest of too many, so that no publisher exhausts the memory. */
function remember(book, name, value, limit) {
  book.delete(name)
  book.set(name, value)
  if (book.size > limit) book.delete(book.keys().next().value)
}
