// Receives keypoints from posestream, by the protocol in docs/reference/protocol.md.
//
//   node subscribe.mjs [--address tcp://127.0.0.1:5570] [--camera hall] [--prefix site1/] [--count 10] [--json]
//                      [--server-key server.key [--client-key client.key_secret]]

import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { Subscriber, curveKeyPair } from "zeromq"
import { Reception, peopleAt } from "./reception.mjs"

const TICK_MS = 500

/** Yields every new poses message of `camera` (of all where undefined), and the `end` of each camera. */
export class Poses {
  constructor({ address = "tcp://127.0.0.1:5570", camera, prefix = "", curve = {} } = {}) {
    this.lost = 0
    this.malformed = 0
    this.reception = new Reception({ camera, prefix })
    this.socket = new Subscriber({ ...curve, linger: 0, maxMessageSize: 4 * 1024 * 1024 })
    this.socket.connect(address)
    this.wanted = `poses/${camera ?? ""}`
    // The snapshot last, so that no message is lost between it and the live messages.
    this.socket.subscribe(`${prefix}heartbeat`, `${prefix}skeleton/`, `${prefix}${this.wanted}`)
    this.#ask(prefix)
    this.timer = setInterval(() => {
      if (this.reception.tick(Date.now()).some(({ event }) => event === "ask")) this.#ask(prefix)
    }, TICK_MS).unref()
  }

  /** Asks for a snapshot, in place of one that was asked for before. */
  #ask(prefix) {
    if (this.snapshot !== undefined) this.socket.unsubscribe(this.snapshot)
    this.snapshot = `${prefix}snapshot/${randomBytes(8).toString("hex")}/${this.wanted}`
    this.socket.subscribe(this.snapshot)
  }

  async *[Symbol.asyncIterator]() {
    for await (const parts of this.socket) {
      for (const event of this.reception.take(parts, Date.now())) {
        if (event.event === "lost") this.lost += event.count
        if (event.event === "malformed") this.malformed += 1
        if (event.event === "poses") yield event.message
        if (event.event === "end") yield { kind: "end", camera: event.camera, seq: event.seq }
      }
    }
  }

  /** True if a message arrived within three heartbeat intervals. */
  get alive() {
    const { receivedMs, intervalMs } = this.reception
    return receivedMs !== undefined && Date.now() - receivedMs < 3 * (intervalMs || 1000)
  }

  /** The names of the joints of a poses message, in the order of its keypoints; undefined before its skeleton arrives. */
  joints(message) {
    return this.reception.joints(message)
  }

  close() {
    clearInterval(this.timer)
    this.socket.close()
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
  const people = peopleAt(message, BigInt(Date.now()) * 1_000_000n).map((person) => {
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
