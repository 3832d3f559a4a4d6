// Receives keypoints from posestream, by the protocol in docs/reference/protocol.md.
//
//   node subscribe.mjs [--address tcp://127.0.0.1:5570] [--camera hall] [--prefix site1/] [--count 10] [--json]
//                      [--server-key server.key [--client-key client.key_secret]]

import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { decode } from "@msgpack/msgpack"
import { Subscriber, curveKeyPair } from "zeromq"

const MAJOR = 1

/** Yields every new poses message of `camera` (of all where undefined), and the `end` of each camera. */
export class Poses {
  constructor({ address = "tcp://127.0.0.1:5570", camera, prefix = "", curve = {} } = {}) {
    this.camera = camera
    this.prefix = prefix
    this.lost = 0
    this.duplicates = 0
    this.malformed = 0
    this.skeletons = new Map()
    this.last = new Map()
    this.session = undefined
    this.receivedAt = undefined
    this.intervalMs = 1000
    this.socket = new Subscriber({ ...curve, linger: 0, maxMessageSize: 4 * 1024 * 1024 })
    this.socket.connect(address)
    const wanted = `poses/${camera ?? ""}`
    // The snapshot last, so that no message is lost between it and the live messages.
    this.socket.subscribe(`${prefix}heartbeat`, `${prefix}skeleton/`, `${prefix}${wanted}`)
    this.socket.subscribe(`${prefix}snapshot/${randomBytes(8).toString("hex")}/${wanted}`)
  }

  async *[Symbol.asyncIterator]() {
    for await (const parts of this.socket) {
      const message = this.#read(parts)
      if (message !== undefined && this.#isNew(message)) yield message
    }
  }

  /** True if a message arrived within three heartbeat intervals. */
  get alive() {
    return this.receivedAt !== undefined && Date.now() - this.receivedAt < 3 * this.intervalMs
  }

  /** The names of the joints of a poses message, in the order of its keypoints; undefined before its skeleton arrives. */
  joints(message) {
    return this.skeletons.get(message.skeleton)?.joints
  }

  close() {
    this.socket.close()
  }

  #read(parts) {
    let message
    try {
      // Nanoseconds do not fit the 53 bits of a number; small integers are converted to numbers below.
      message = parts.length === 2 ? decode(parts[1], { useBigInt64: true }) : undefined
    } catch {
      message = undefined
    }
    if (typeof message !== "object" || message === null || !Array.isArray(message.version)) {
      this.malformed += 1
      return undefined
    }
    if (Number(message.version[0]) !== MAJOR) {
      throw new Error(`the publisher uses protocol ${message.version.join(".")} and this client ${MAJOR}.x`)
    }
    return message
  }

  #isNew(message) {
    this.receivedAt = Date.now()
    if (message.session !== this.session) {
      this.session = message.session
      this.last.clear()
      this.skeletons.clear()
    }
    switch (message.kind) {
      case "skeleton":
        this.skeletons.set(message.name, message)
        return false
      case "heartbeat":
        this.intervalMs = Number(message.interval_ms)
        for (const [topic, seq] of Object.entries(message.topics)) this.#countLost(topic, Number(seq))
        return false
      case "poses":
      case "end":
        return this.#isNext(message)
      default:
        return false
    }
  }

  /** Records the number of a message; false if it is of another camera or a duplicate. */
  #isNext(message) {
    if (this.camera !== undefined && message.camera !== this.camera) return false
    const topic = `${this.prefix}poses/${message.camera}`
    const seq = Number(message.seq)
    if (this.last.has(topic) && seq <= this.last.get(topic)) {
      this.duplicates += 1
      return false
    }
    this.#countLost(topic, seq - 1)
    this.last.set(topic, seq)
    return true
  }

  /** Counts the messages on `topic` up to `seq` that did not arrive as lost. */
  #countLost(topic, seq) {
    if (!this.last.has(topic)) return
    this.lost += Math.max(0, seq - this.last.get(topic))
    this.last.set(topic, Math.max(seq, this.last.get(topic)))
  }
}

/** The CURVE options for ZeroMQ certificate files; without a client key, a new pair is generated. */
export function curve(serverKey, clientKey) {
  if (serverKey === undefined) return {}
  const key = (file, half) => readFileSync(file, "utf8").match(new RegExp(`${half}-key = "([^"]{40})"`))[1]
  const own = clientKey === undefined
    ? curveKeyPair()
    : { publicKey: key(clientKey, "public"), secretKey: key(clientKey, "secret") }
  return { curveServerKey: key(serverKey, "public"), curvePublicKey: own.publicKey, curveSecretKey: own.secretKey }
}

function line(poses, message) {
  const people = message.people.map((person) => {
    const [x, y, score] = person.keypoints[0]
    const joint = poses.joints(message)?.[0] ?? "joint 0"
    return `#${person.id} ${joint} at (${x.toFixed(0)}, ${y.toFixed(0)}) px, score ${score.toFixed(2)}`
  })
  const ageMs = Number(BigInt(Date.now()) - BigInt(message.wall_ns) / 1_000_000n)
  return `${message.camera} ${message.frame_seq}: ${ageMs} ms old; ${people.join("; ") || "no people"}`
}

function json(poses, message) {
  const plain = (key, value) => (typeof value === "bigint" ? value.toString() : value)
  return JSON.stringify({ ...message, joints: poses.joints(message), lost: poses.lost }, plain)
}

async function main() {
  const text = { type: "string" }
  const { values } = parseArgs({
    options: {
      address: text, camera: text, prefix: text, count: text, "server-key": text, "client-key": text,
      json: { type: "boolean" },
    },
  })
  const poses = new Poses({ ...values, curve: curve(values["server-key"], values["client-key"]) })
  const show = values.json ? json : line
  let left = Number(values.count ?? Infinity)
  for await (const message of poses) {
    if (message.kind === "end") console.log(values.json ? json(poses, message) : `${message.camera}: the end`)
    else console.log(show(poses, message))
    if ((left -= 1) <= 0) break
  }
  poses.close()
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main()
