// Runs one case of docs/clients/conformance: steps on stdin, events as JSON on stdout.

import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import { Reception, peopleAt } from "./reception.mjs"

const text = { type: "string" }
const { values } = parseArgs({ options: { camera: text, prefix: text } })
const reception = new Reception(values)
const bytes = (word) => Buffer.from(word === "-" ? "" : word, "hex")
let nowMs = 0
let clockNs

function events(line) {
  const [step, ...words] = line.split(" ")
  if (step === "message") return reception.take(words.map(bytes), nowMs)
  if (step === "wait") return reception.tick((nowMs += Number(words[0])))
  if (step === "clock") clockNs = BigInt(words[0])
  return []
}

function json({ event, message, retained, joints, ...more }) {
  if (event !== "poses") return JSON.stringify({ event, ...more })
  const { camera, people, pts_ns, wall_ns } = message
  const [seq, frame_seq] = [Number(message.seq), Number(message.frame_seq)]
  const content = { event, camera, seq, frame_seq, people, pts_ns, wall_ns, retained, joints: joints ?? [] }
  if (clockNs !== undefined) content.at = peopleAt(message, clockNs)
  const plain = (key, value) => (typeof value !== "bigint" ? value : key.endsWith("_ns") ? `${value}` : Number(value))
  return JSON.stringify({ ...content, pts_ns: `${pts_ns}`, wall_ns: `${wall_ns}` }, plain)
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    for (const event of events(line)) console.log(json(event))
  } catch {
    console.log(JSON.stringify({ event: "refused" }))
    break
  }
}
