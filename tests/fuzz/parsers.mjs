// The parsers of Engine.IO and Socket.IO from npm, asked by lines of JSON, each answered by one line.
//
//   {"parser": "socket.io-client-2.5", "what": "payload", "inputs": ["6:4hello", {"base64": "AAT/…"}, …]}
//   what: payload or frame of Engine.IO, packet of Socket.IO (attachments that it asks for are 0x00, 0x01, …)
//   answer: for each input a list of packets, or null where the parser refuses it

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../interop/package.json", import.meta.url));
const TYPES = ["open", "close", "ping", "pong", "message", "upgrade", "noop"];

function load(client, name) {
  return createRequire(require.resolve(`${client}/package.json`))(name);
}

const bytes = (input) => (typeof input === "string" ? input : Buffer.from(input.base64, "base64"));

function plain(packet) {
  if (packet === undefined || packet.type === "error" || !TYPES.includes(packet.type)) throw new Error("refused");
  const data = packet.data ?? "";
  const binary = Buffer.isBuffer(data) || data instanceof ArrayBuffer;
  return [String(TYPES.indexOf(packet.type)), binary ? { base64: Buffer.from(data).toString("base64") } : data];
}

function payload(parser, input) {
  const packets = [];
  if (parser.protocol === 4) packets.push(...parser.decodePayload(input, "nodebuffer"));
  else parser.decodePayload(input, (packet) => void packets.push(packet));
  return packets.map(plain);
}

const frame = (parser, input) => [plain(parser.decodePacket(input, "nodebuffer"))];

function packet(parser, text) {
  const found = [];
  const decoder = new parser.Decoder();
  decoder.on("decoded", (one) => found.push(one));
  decoder.add(text);
  const wanted = found.length ? 0 : Math.min(decoder.reconstructor?.reconPack?.attachments ?? 0, 10);
  for (let number = 0; number < wanted; number++) decoder.add(Buffer.from([number]));
  if (found.length !== 1) throw new Error("refused");
  const { type, nsp, id, data } = found[0];
  // An error is how parsers before 3.3 say that they refuse.
  if (type === 4) throw new Error("refused");
  return [{ type, nsp: nsp || "/", id: id ?? null, data: data === undefined ? null : marked(data) }];
}

// Buffers as they are compared, numbers as doubles that JSON can tell.
function marked(value) {
  if (Buffer.isBuffer(value)) return { base64: value.toString("base64") };
  if (Array.isArray(value)) return value.map(marked);
  if (value === null || typeof value !== "object") return value === undefined ? null : value;
  // Not an assignment: `__proto__` is a name like any other in JSON.
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, marked(one)]));
}

const decoders = { payload, frame, packet };

for await (const line of createInterface({ input: process.stdin })) {
  const { parser, what, inputs } = JSON.parse(line);
  const library = load(parser, what === "packet" ? "socket.io-parser" : "engine.io-parser");
  const answers = inputs.map((input) => {
    try {
      return decoders[what](library, bytes(input));
    } catch {
      return null;
    }
  });
  process.stdout.write(JSON.stringify(answers) + "\n");
}
