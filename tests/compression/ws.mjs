// The package `ws`, for comparison and as a client.
//
//   node ws.mjs answers          lines of {"header": …} in; what a server of `ws` without context takeover answers
//   node ws.mjs echoes URL BITS  sends `Echo:` messages of several sizes, and tells what comes back

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../interop/node_modules/ws/", import.meta.url));
const require = createRequire(import.meta.url);

function answer(header) {
  const extension = require(`${folder}lib/extension.js`);
  const PerMessageDeflate = require(`${folder}lib/permessage-deflate.js`);
  const options = { isServer: true, serverNoContextTakeover: true, clientNoContextTakeover: true };
  const deflate = new PerMessageDeflate(options);
  try {
    const offers = extension.parse(header)["permessage-deflate"];
    return offers ? deflate.accept(offers) : null;
  } catch {
    return "refused";
  }
}

async function echoes(url, bits) {
  const WebSocket = require(folder);
  const perMessageDeflate = { threshold: 0, ...(bits ? { serverMaxWindowBits: bits } : {}) };
  const socket = new WebSocket(url, { perMessageDeflate });
  let received = 0;
  // Everything that comes over the wire, before `ws` inflates it.
  socket.on("upgrade", (response) => response.socket.on("data", (data) => (received += data.length)));
  await new Promise((opened, failed) => socket.on("open", opened).on("error", failed));
  const sizes = [0, 1, 100, 1000, 10000, 60000];
  const same = [];
  for (const size of sizes) {
    const text = '{"id":1001,"name":"ánna"},'.repeat(size / 25 + 1).slice(0, size);
    const came = new Promise((resolve) => socket.once("message", (data) => resolve(data.toString())));
    socket.send(`Echo:${text}`);
    same.push((await came) === text);
  }
  socket.close();
  console.log(JSON.stringify({ extensions: socket.extensions, same, received }));
}

const [, , command, url, bits] = process.argv;
if (command === "echoes") {
  await echoes(url, Number(bits));
} else {
  createInterface({ input: process.stdin }).on("line", (line) => {
    console.log(JSON.stringify(answer(JSON.parse(line).header)));
  });
}
